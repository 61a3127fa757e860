//! Image references and digests.
//!
//! The grammar is that of the distribution project (`reference/regexp.go`), cut
//! to what can be pulled without guessing: a registry host is required, since
//! `ctr` on Bottlerocket has no default one, and so is a tag or a digest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::{checked_string, quoted};

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

/// A reference to an image: `registry/repository` with a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// An ECR private registry, read off its host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EcrRegistry {
    /// Twelve digits.
    pub account: String,
    /// Such as `eu-west-1`.
    pub region: String,
}

/// Longest reference accepted: 255 for the name (distribution's limit) and room
/// for a tag or a digest.
const MAX_REFERENCE: usize = 384;
const MAX_NAME: usize = 255;

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

    /// `registry/repository:tag`: what a pod that names the tag asks for.
    #[must_use]
    pub fn at_tag(&self) -> Option<String> {
        let tag = self.tag.as_ref()?;
        Some(format!("{}/{}:{tag}", self.registry, self.repository))
    }

    /// The ECR registry that the host name stands for, if it is one: form
    /// `<account>.dkr.ecr.<region>.amazonaws.com[.cn]` (Amazon ECR user guide,
    /// "Private registries").
    #[must_use]
    pub fn ecr_registry(&self) -> Option<EcrRegistry> {
        let (account, rest) = self.registry.split_once(".dkr.ecr.")?;
        let host = rest.strip_suffix(".cn").unwrap_or(rest);
        let region = host.strip_suffix(".amazonaws.com")?;
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        let is_region = !region.is_empty() && !region.contains('.');
        (is_account && is_region)
            .then(|| EcrRegistry { account: account.to_owned(), region: region.to_owned() })
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
        if !is_registry(registry) {
            return refuse(
                "the part before the first / is no registry host; write for instance docker.io/library/nginx:1.27",
            );
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

/// Length and alphabet of a whole reference.
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
    // Without a dot, a port or `localhost`, the first component is a
    // repository of a default registry, which there is none of here.
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

/// A repository and tag from outside, as one name.
///
/// # Errors
/// A sentence that says which of the two is none.
pub fn check_repository_and_tag(repository: &str, tag: &str) -> Result<(), String> {
    if repository.len() > MAX_NAME || !repository.split('/').all(is_path_component) {
        return Err(format!("{} is no repository", quoted(repository)));
    }
    if !is_tag(tag) {
        return Err(format!("{} is no tag", quoted(tag)));
    }
    Ok(())
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
    fn an_ecr_host_tells_account_and_region() {
        let registry = |text: &str| text.parse::<ImageReference>().unwrap().ecr_registry();
        let ecr = registry("123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:b").unwrap();
        assert_eq!((ecr.account.as_str(), ecr.region.as_str()), ("123456789012", "eu-west-1"));
        assert!(registry("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a:b").is_some());
        assert!(registry("public.ecr.aws/a:b").is_none());
        assert!(registry("12345.dkr.ecr.eu-west-1.amazonaws.com/a:b").is_none());
        assert!(
            registry("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example/a:b").is_none()
        );
    }

    #[test]
    fn both_names_of_an_image_are_formed_from_one_reference() {
        let reference: ImageReference = "ghcr.io/team/app:v1".parse().unwrap();
        let digest: Digest = DIGEST.parse().unwrap();
        assert_eq!(reference.at_digest(&digest), format!("ghcr.io/team/app@{DIGEST}"));
        assert_eq!(reference.at_tag().unwrap(), "ghcr.io/team/app:v1");
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_holds_no_shell_metacharacter(text in "[ -~]{0,40}|[a-z.]{2,9}/[a-z;$ ()]{1,9}:[a-z$`]{1,5}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let shown = reference.to_string();
                prop_assert!(shown.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c)), "{shown}");
                prop_assert!(!shown.starts_with('-'));
            }
        }
    }
}
