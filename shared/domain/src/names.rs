//! Names that Frontload creates or receives, each with a fixed alphabet, and the Parameter Store
//! names composed of them.

use sha2::{Digest as _, Sha256};

use super::Architecture;

/// Defines a string newtype. Text from outside enters it only through `TryFrom`, so serde, tests
/// and callers all use the same check. A type of the cache document gives the JSON Schema
/// (`schema.rs`) its pattern too.
macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[cfg_attr(test, derive(schemars_derive::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        $(#[$doc])*
        pub struct $name(String);

        impl $name {
            /// The text, free of anything a shell or a path would interpret.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        #[allow(dead_code, reason = "not every name has a value of its own in the code")]
        impl $name {
            /// A literal in the code. Debug builds check it, and so do the tests.
            pub(crate) fn literal(text: &'static str) -> Self {
                debug_assert!(text.parse::<Self>().is_ok());
                Self(text.to_owned())
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> std::result::Result<Self, String> {
                let check: fn(&str) -> std::result::Result<(), String> = $check;
                check(&text)?;
                Ok(Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> std::result::Result<Self, String> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use checked_string;

/// Quotes text from outside for an error message. Control characters are escaped and the text is
/// cut at 60 characters, so a log line stays one line.
#[must_use]
pub fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(60).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{dots}")
}

fn is_lower_alnum(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Whether a log or a terminal shows a character as itself: it is no control character, line or
/// paragraph separator, direction mark or other invisible character.
#[must_use]
pub fn is_plain(c: char) -> bool {
    let is_hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
    !c.is_control() && !is_hidden
}

/// Text from outside on one line: only its plain characters, at most `most`.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    text.chars().filter(|c| is_plain(*c)).take(most).collect()
}

/// `Ok` when `text` is 1 to `max` characters of `[a-z0-9-]`, starting with a
/// letter or digit.
fn check_slug(text: &str, max: usize) -> Result<(), String> {
    let alphabet = text.chars().all(|c| is_lower_alnum(c) || c == '-');
    if text.is_empty() || text.len() > max || !alphabet || text.starts_with('-') {
        return Err(format!(
            "{} is not a name: use 1 to {max} of a-z, 0-9 and -, starting with a letter or digit",
            quoted(text)
        ));
    }
    Ok(())
}

/// Names under the parameter prefix that no cache may have.
const RESERVED_CACHE_NAMES: [&str; 2] = ["caches", "leases"];

checked_string!(
    /// The name of a cache: 1 to 32 of `a-z`, `0-9` and `-`.
    CacheName,
    |text| {
        check_slug(text, 32)?;
        if RESERVED_CACHE_NAMES.contains(&text) {
            return Err(format!("{} is reserved by Frontload: choose another name", quoted(text)));
        }
        Ok(())
    }
);

checked_string!(
    /// The id of a build: 1 to 60 of `a-z`, `0-9` and `-`. It is the child execution's name (at
    /// most 80 characters, Step Functions `StartExecution`) and the stem of the `RunInstances`
    /// client token (at most 64 characters).
    BuildId,
    |text| check_slug(text, 60)
);

impl BuildId {
    /// The id of the build of one cache and architecture in one execution of the pipeline. A
    /// retried Plan gets the same id, another execution a different one.
    #[must_use]
    pub fn derive(cache: &CacheName, architecture: Architecture, execution_id: &str) -> Self {
        let hash = format!("{:x}", Sha256::digest(execution_id.as_bytes()));
        let architecture = architecture.as_str().replace('_', "-");
        Self(format!("{cache}-{architecture}-{}", &hash[..12]))
    }
}

checked_string!(
    /// The root of all our parameters: `/` and one or more path segments of `[a-zA-Z0-9_.-]`,
    /// without a trailing `/`.
    ParameterPrefix,
    |text| {
        let segment = |s: &str| {
            !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        };
        match text.strip_prefix('/') {
            Some(rest) if text.len() <= 100 && rest.split('/').all(segment) => Ok(()),
            _ => Err(format!(
                "{} is not a parameter prefix: use / and segments of letters, digits, _ . -",
                quoted(text)
            )),
        }
    }
);

impl ParameterPrefix {
    /// The path of all cache documents: `<prefix>/caches`.
    #[must_use]
    pub fn caches(&self) -> String {
        format!("{self}/caches")
    }

    /// The parameter of one cache document.
    #[must_use]
    pub fn cache(&self, name: &CacheName) -> String {
        format!("{self}/caches/{name}")
    }
}

/// The parameters of one cache and architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterNames {
    /// Contains the snapshot id, a plain string that Karpenter and Terraform read.
    pub snapshot_id: String,
    /// Contains the [`super::Manifest`] as JSON.
    pub manifest: String,
}

impl ParameterNames {
    /// The names for one cache and architecture under `prefix`.
    #[must_use]
    pub fn new(prefix: &ParameterPrefix, cache: &CacheName, architecture: Architecture) -> Self {
        Self {
            snapshot_id: format!("{prefix}/{cache}/{architecture}/snapshot-id"),
            manifest: format!("{prefix}/{cache}/{architecture}/manifest"),
        }
    }
}

checked_string!(
    /// The ARN of an execution. It fits into a tag's value (256 characters).
    ExecutionArn,
    |text| match text.strip_prefix("arn:") {
        Some(rest) if (1..=252).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b":/-_.+=@".contains(&b)) => Ok(()),
        _ => Err(format!(
            "{} is not the ARN of an execution; its name may hold letters, digits and -_.+=@",
            quoted(text)
        )),
    }
);

checked_string!(
    /// An EC2 instance id.
    InstanceId,
    |text| match text.strip_prefix("i-") {
        Some(rest) if (1..=32).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_alphanumeric()) => Ok(()),
        _ => Err(format!("{} is not an instance id", quoted(text))),
    }
);

checked_string!(
    /// An EBS volume id.
    VolumeId,
    |text| match text.strip_prefix("vol-") {
        Some(rest) if (1..=32).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_alphanumeric()) => Ok(()),
        _ => Err(format!("{} is not a volume id", quoted(text))),
    }
);

checked_string!(
    /// SSM's id of a command.
    CommandId,
    |text| match text.len() {
        1..=36 if text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => Ok(()),
        _ => Err(format!("{} is not a command id", quoted(text))),
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_name_is_a_short_slug() {
        assert!("gpu-2".parse::<CacheName>().is_ok());
        for bad in ["", "-a", "A", "a b", "a/b", "$(x)", "caches", "leases", &"a".repeat(33)] {
            assert!(bad.parse::<CacheName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_build_id_depends_on_the_execution_and_fits_a_client_token() {
        let cache = "a".repeat(32).parse().unwrap();
        let one = BuildId::derive(&cache, Architecture::X86_64, "execution-1");
        assert_eq!(one, BuildId::derive(&cache, Architecture::X86_64, "execution-1"));
        assert_ne!(one, BuildId::derive(&cache, Architecture::X86_64, "execution-2"));
        assert!(one.as_str().parse::<BuildId>().is_ok(), "{one}");
    }

    #[test]
    fn parameter_names_follow_the_design() {
        let prefix = "/frontload".parse().unwrap();
        let names = ParameterNames::new(&prefix, &"gpu".parse().unwrap(), Architecture::Arm64);
        assert_eq!(names.snapshot_id, "/frontload/gpu/arm64/snapshot-id");
        assert_eq!(names.manifest, "/frontload/gpu/arm64/manifest");
        assert_eq!(names.manifest, "/frontload/gpu/arm64/manifest");
    }

    #[test]
    fn the_longest_prefix_that_a_template_accepts_is_valid() {
        for template in [
            include_str!("../../../infra/template.yaml"),
            include_str!("../../../infra/consumer.yaml"),
        ] {
            let (_, parameter) = template.split_once("\n  ParameterPrefix:\n").unwrap();
            let (_, limit) = parameter.split_once("MaxLength: ").unwrap();
            let limit: usize = limit.lines().next().unwrap().parse().unwrap();
            let prefix = format!("/{}", "a".repeat(limit - 1));
            assert!(prefix.parse::<ParameterPrefix>().is_ok(), "{limit} characters");
        }
    }

    #[test]
    fn a_prefix_has_no_empty_segment() {
        assert!("/team/frontload".parse::<ParameterPrefix>().is_ok());
        for bad in ["", "/", "frontload", "/a//b", "/a/", "/a b"] {
            assert!(bad.parse::<ParameterPrefix>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn quoted_text_stays_on_one_line() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert_eq!(quoted(&"x".repeat(300)).chars().count(), 63);
    }

    #[test]
    fn one_line_removes_line_breaks_and_direction_marks() {
        let text =
            "a\n\r\u{0}\u{1b}\u{85}\u{ad}\u{200f}\u{2028}\u{202e}\u{2066}\u{feff}é\u{10ffff}";
        assert_eq!(one_line(text, 9), "aé\u{10ffff}");
        assert_eq!(one_line("abc", 2), "ab");
        assert_eq!(quoted("\u{202e}\u{2028}"), r#""\u{202e}\u{2028}""#);
    }
}
