//! Image references and digests.
//!
//! The grammar is a subset of the distribution project's (`reference/regexp.go`): nothing may be
//! left to guess. A registry host is required because `ctr` on Bottlerocket has no default
//! registry. A tag or a digest is required, too.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::names::{checked_string, quoted};
use super::place::{AccountId, RegionName};

checked_string!(
    /// A content digest: `sha256:` and 64 lower-case hexadecimal digits.
    Digest,
    |text| {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        match text.strip_prefix("sha256:") {
            Some(rest) if rest.len() == 64 && rest.chars().all(hex) => Ok(()),
            _ => Err(format!(
                "{} is not a digest: use sha256: and 64 of 0-9, a-f",
                quoted(text)
            )),
        }
    }
);

impl Digest {
    /// The digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(format!("sha256:{:x}", Sha256::digest(content)))
    }

    /// The 64 digits, without the algorithm.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }
}

checked_string!(
    /// A tag: 1 to 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`.
    Tag,
    |text| if is_tag(text) { Ok(()) } else { Err(format!("{} is not a tag", quoted(text))) }
);

checked_string!(
    /// The name of a repository below its registry, such as `team/app`.
    RepositoryName,
    |text| {
        if text.len() <= MAX_NAME && text.split('/').all(is_path_component) {
            return Ok(());
        }
        Err(format!("{} is not a repository", quoted(text)))
    }
);

/// A reference to an image: `registry/repository` with a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(test, schemars(extend("maxLength" = MAX_REFERENCE, "pattern" = concat!(
    r"^(?:(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)(?::[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5})",
    r"(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+",
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(?:@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})$"
))))]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// An ECR private registry, parsed from its host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EcrRegistry {
    /// The account that owns it.
    pub account: AccountId,
    /// Its region.
    pub region: RegionName,
}

impl EcrRegistry {
    /// The ECR registry with this host name; `None` for any other host. The form is
    /// `<account>.dkr.ecr.<region>.amazonaws.com`, in China followed by `.cn` (Amazon ECR user
    /// guide, "Private registries").
    fn of_host(host: &str) -> Option<Self> {
        let (account, rest) = host.split_once(".dkr.ecr.")?;
        let (region, suffix) = rest.split_once('.')?;
        let region: RegionName = region.parse().ok()?;
        let account = account.parse().ok()?;
        (suffix == region.dns_suffix()).then_some(Self { account, region })
    }
}

/// A repository of a private ECR registry, written `host/name`: the only kind
/// whose tags can be listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(try_from = "String")]
#[cfg_attr(test, schemars(with = "String", extend("maxLength" = MAX_NAME, "pattern" = concat!(
    r"^[0-9]{12}\.dkr\.ecr\.[a-z]+(-[a-z]+){1,2}-[0-9]{1,2}\.amazonaws\.com(?:\.cn)?",
    r"(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+$"
))))]
pub struct EcrRepository {
    host: String,
    registry: EcrRegistry,
    name: RepositoryName,
}

impl EcrRepository {
    /// The account and the region.
    #[must_use]
    pub fn registry(&self) -> &EcrRegistry {
        &self.registry
    }

    /// The name below the registry.
    #[must_use]
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The reference that a pod uses for the image with this tag.
    #[must_use]
    pub fn at_tag(&self, tag: &Tag) -> ImageReference {
        ImageReference {
            registry: self.host.clone(),
            repository: self.name.to_string(),
            tag: Some(tag.to_string()),
            digest: None,
        }
    }
}

impl TryFrom<String> for EcrRepository {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (host, name) = text.split_once('/').unwrap_or((&text, ""));
        let Some(registry) = EcrRegistry::of_host(host) else {
            return Err(format!(
                "{}: a rule needs a private ECR repository, since other registries cannot be \
                 listed; write <account>.dkr.ecr.<region>.amazonaws.com/<name>",
                quoted(&text)
            ));
        };
        if text.len() > MAX_NAME {
            let length = text.len();
            return Err(format!(
                "{} has {length} characters, at most {MAX_NAME} fit into a reference",
                quoted(&text)
            ));
        }
        let name = name.parse().map_err(|problem| {
            format!("{problem}: write lower-case letters and digits joined by . _ - and /, no tag")
        })?;
        Ok(Self { host: host.to_owned(), registry, name })
    }
}

impl fmt::Display for EcrRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

/// Longest registry and repository together (distribution's limit).
const MAX_NAME: usize = 255;
/// Longest reference: the greatest lengths of name, tag and digest together. Every reference that
/// the code composes from them can therefore be parsed again.
const MAX_REFERENCE: usize = MAX_NAME + ":".len() + 128 + "@sha256:".len() + 64;

impl ImageReference {
    /// Host and optional port, such as `public.ecr.aws`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry, such as `team/app`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if the reference has one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference has one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `registry/repository@digest`: what a pod pinned to `digest` asks for.
    #[must_use]
    pub fn at_digest(&self, digest: &Digest) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }

    /// `registry/repository:tag`: what a pod that uses the tag asks for. `None` without a tag.
    #[must_use]
    pub fn at_tag(&self) -> Option<String> {
        let tag = self.tag.as_ref()?;
        Some(format!("{}/{}:{tag}", self.registry, self.repository))
    }

    /// The same reference, pinned to `digest`.
    #[must_use]
    pub fn with_digest(mut self, digest: &Digest) -> Self {
        self.digest = Some(digest.clone());
        self
    }

    /// The ECR registry of the reference; `None` for any other registry.
    #[must_use]
    pub fn ecr_registry(&self) -> Option<EcrRegistry> {
        EcrRegistry::of_host(&self.registry)
    }
}

impl FromStr for ImageReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("{} is not an image reference: {why}", quoted(text)));
        if let Err(why) = check_text(text) {
            return refuse(&why);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(name);
        let Some((registry, repository)) = name.split_once('/') else {
            return refuse(
                "the registry is missing; write for instance public.ecr.aws/nginx/nginx:1.27",
            );
        };
        if let Err(why) = check_registry(registry) {
            return refuse(why);
        }
        if name.len() > MAX_NAME {
            let length = name.len();
            return refuse(&format!("its name has {length} characters, at most {MAX_NAME} fit"));
        }
        if !repository.split('/').all(is_path_component) {
            return refuse(
                "the repository must be lower-case letters and digits joined by . _ - and /",
            );
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return refuse(
                "the tag must be 1 to 128 letters, digits, _ . -, not starting with . or -",
            );
        }
        if tag.is_none() && digest.is_none() {
            return refuse("it has neither tag nor digest; write :latest if that is what you mean");
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// Checks length and alphabet of a whole reference.
fn check_text(text: &str) -> Result<(), String> {
    if text.len() > MAX_REFERENCE {
        return Err(format!("it has {} characters, at most {MAX_REFERENCE} fit", text.len()));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    match text.chars().find(|c| !is_allowed(*c)) {
        None => Ok(()),
        Some(bad) => Err(format!(
            "it holds {bad:?}; use registry/repository:tag or registry/repository@sha256:…"
        )),
    }
}

/// Splits off `:tag`; a colon before the last `/` belongs to a port.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
        _ => (name, None),
    }
}

/// Checks the registry host. A mistyped ECR host is refused; it would otherwise pass as a
/// registry that cannot be queried.
fn check_registry(text: &str) -> Result<(), &'static str> {
    if !is_registry(text) {
        return Err(
            "the part before the first / is not a registry host; write for instance docker.io/library/nginx:1.27",
        );
    }
    let lower = text.to_ascii_lowercase();
    let host = lower.split(':').next().unwrap_or_default();
    let is_amazon = host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn");
    if host.contains(".dkr.ecr.") && is_amazon && EcrRegistry::of_host(text).is_none() {
        return Err(
            "its host is not an ECR registry; write <account>.dkr.ecr.<region>.amazonaws.com",
        );
    }
    Ok(())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        edge(label.chars().next())
            && edge(label.chars().last())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let is_port =
        |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
    // Without a dot, a port or `localhost`, the first component is part of a repository in a
    // default registry. There is no default registry here.
    let is_host = host.contains('.') || port.is_some() || host == "localhost";
    is_host && host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Lower-case alphanumerics joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |s: &str| s == "." || s == "_" || s == "__" || s.chars().all(|c| c == '-');
    let edges = text.starts_with(is_word) && text.ends_with(is_word);
    edges && text.split(is_word).filter(|s| !s.is_empty()).all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len())
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for ImageReference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(value: ImageReference) -> Self {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_that_can_be_pulled_are_accepted_and_print_as_written() {
        for text in [
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1",
            "public.ecr.aws/nginx/nginx:1.27-alpine",
            "localhost:5000/a:b",
            "docker.io/library/some__odd--name:_T.a-g",
            &format!("ghcr.io/team/app@{DIGEST}"),
            &format!("ghcr.io/team/app:v1@{DIGEST}"),
        ] {
            assert_eq!(text.parse::<ImageReference>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn references_that_a_shell_or_containerd_would_misread_are_refused() {
        for text in [
            "a;rm -rf /",
            "$(x)",
            "ghcr.io/team app:v1",
            "ghcr.io/team/app",
            "nginx:1.27",
            "library/nginx:1.27",
            "ghcr.io/Team/app:v1",
            "ghcr.io//app:v1",
            "ghcr.io/team/app:",
            "ghcr.io/team/app:.v1",
            "ghcr.io/team/app@sha256:0",
            "-ghcr.io/team/app:v1",
            "ghcr.io/-app:v1",
            "ghcr.io/team/../etc:v1",
            "ghcr.io/a\n:v1",
            "",
        ] {
            assert!(text.parse::<ImageReference>().is_err(), "{text:?}");
        }
        let long = format!("ghcr.io/{}:v1", "a".repeat(300));
        assert!(long.parse::<ImageReference>().is_err());
    }

    #[test]
    fn an_ecr_host_names_account_and_region() {
        let registry = |text: &str| text.parse::<ImageReference>().unwrap().ecr_registry();
        let ecr = registry("123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:b").unwrap();
        assert_eq!((ecr.account.as_str(), ecr.region.as_str()), ("123456789012", "eu-west-1"));
        assert!(registry("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a:b").is_some());
        assert!(registry("123456789012.dkr.ecr.us-gov-west-1.amazonaws.com/a:b").is_some());
        assert!(registry("public.ecr.aws/a:b").is_none());
        assert!(
            registry("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example/a:b").is_none()
        );
    }

    #[test]
    fn a_malformed_ecr_host_is_refused() {
        for host in [
            "12345.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.euwest1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
        ] {
            let error = format!("{host}/a:b").parse::<ImageReference>().unwrap_err();
            assert!(error.ends_with("write <account>.dkr.ecr.<region>.amazonaws.com"), "{error}");
        }
    }

    #[test]
    fn only_repositories_of_private_ecr_registries_can_be_listed() {
        let parse = |text: &str| EcrRepository::try_from(text.to_owned());
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let repository = parse(&format!("{host}/team/app")).unwrap();
        assert_eq!(repository.name().as_str(), "team/app");
        assert_eq!(repository.registry().region.as_str(), "eu-west-1");
        let tagged = repository.at_tag(&"v1".parse().unwrap());
        assert_eq!(tagged, format!("{host}/team/app:v1").parse().unwrap());
        for other in ["public.ecr.aws/nginx/nginx", "team/app", "", "$(x)/y"] {
            let error = parse(other).unwrap_err();
            assert!(error.contains("other registries cannot be listed"), "{error}");
        }
        for name in ["", "/", "team/app:v1", "Team", "a b"] {
            let error = parse(&format!("{host}/{name}")).unwrap_err();
            assert!(error.contains("is not a repository: write"), "{error}");
        }
    }

    #[test]
    fn one_reference_yields_both_names_of_an_image() {
        let reference: ImageReference = "ghcr.io/team/app:v1".parse().unwrap();
        let digest: Digest = DIGEST.parse().unwrap();
        assert_eq!(reference.at_digest(&digest), format!("ghcr.io/team/app@{DIGEST}"));
        assert_eq!(reference.at_tag().unwrap(), "ghcr.io/team/app:v1");
    }

    proptest! {
        #[test]
        fn an_accepted_reference_has_no_shell_metacharacter(text in "[ -~]{0,40}|[a-z.]{2,9}/[a-z;$ ()]{1,9}:[a-z$`]{1,5}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let shown = reference.to_string();
                prop_assert!(shown.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c)), "{shown}");
                prop_assert!(!shown.starts_with('-'));
            }
        }
    }
}
