//! The images of a cache as written in its document: a reference to one image, or a rule that
//! follows the tags of a repository. This module decides which images to pull and which pushes
//! concern the cache. It calls no registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use semver::{Version, VersionReq};
use serde::{Deserialize, Deserializer};
use wildmatch::WildMatch;

use super::image::{Digest, EcrRegistry, EcrRepository, ImageReference, RepositoryName, Tag};
use super::names::{checked_string, quoted};
use super::place::{AccountId, RegionName};
use super::text_or_object::TextOrObject;

/// An entry of a cache's `images`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(from = "TextOrObject<ImageReference, TagRule>")]
pub enum Selection {
    /// One image.
    Fixed(ImageReference),
    /// The newest images of a repository.
    Rule(TagRule),
}

impl From<TextOrObject<ImageReference, TagRule>> for Selection {
    fn from(written: TextOrObject<ImageReference, TagRule>) -> Self {
        match written {
            TextOrObject::Text(reference) => Self::Fixed(reference),
            TextOrObject::Object(rule) => Self::Rule(rule),
        }
    }
}

impl Selection {
    /// Whether an event about `image` may change the images of this entry.
    #[must_use]
    pub fn concerns(&self, image: &EcrImage) -> bool {
        let is_at = |registry: &EcrRegistry, repository: &str| {
            registry.account == image.account
                && registry.region == image.region
                && repository == image.repository.as_str()
        };
        match self {
            Self::Fixed(reference) => {
                let is_same = match reference.digest() {
                    Some(digest) => image.digest.as_ref() == Some(digest),
                    None => reference.tag() == image.tag.as_ref().map(Tag::as_str),
                };
                is_same
                    && reference.ecr_registry().is_some_and(|r| is_at(&r, reference.repository()))
            }
            Self::Rule(rule) => {
                is_at(rule.repository.registry(), rule.repository.name().as_str())
                    && image.tag.as_ref().is_some_and(|tag| rule.matches(tag))
            }
        }
    }

    /// The private ECR registry that the images come from, if they come from one.
    #[must_use]
    pub fn ecr_registry(&self) -> Option<EcrRegistry> {
        match self {
            Self::Fixed(reference) => reference.ecr_registry(),
            Self::Rule(rule) => Some(rule.repository.registry().clone()),
        }
    }

    /// Maximum number of images for this entry; one image may have several tags.
    #[must_use]
    pub fn most(&self) -> usize {
        match self {
            Self::Fixed(_) => 1,
            Self::Rule(rule) => rule.newest,
        }
    }
}

/// Follows the tags of one repository: the newest images whose tag matches.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(try_from = "RuleDocument")]
#[cfg_attr(test, schemars(with = "RuleDocument"))]
pub struct TagRule {
    repository: EcrRepository,
    pattern: TagPattern,
    newest: usize,
    order: NewestBy,
    required: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TagPattern {
    Glob(TagGlob),
    Versions(VersionRange),
}

/// What makes an image newer than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(rename_all = "camelCase")]
enum NewestBy {
    /// It was pushed later.
    PushTime,
    /// Its version is higher.
    Version,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, schemars(extend("oneOf" = [
    {"required": ["tags"], "properties": {"tags": {"type": "string"}}},
    {"required": ["versions"], "properties": {"versions": {"type": "string"}}},
])))]
struct RuleDocument {
    /// The repository of a rule: `<account>.dkr.ecr.<region>.amazonaws.com/<name>`, without a tag.
    repository: EcrRepository,
    /// A pattern of tags: `*` stands for any characters, `?` for one. A rule needs either `tags`
    /// or `versions`.
    tags: Option<TagGlob>,
    /// A range of semantic versions in Cargo's form, such as `">=1.2, <2"`. It matches tags
    /// `1.2.3` and `v1.2.3`. It matches a pre-release only if the range names one.
    versions: Option<VersionRange>,
    /// The number of images to take, each with all its matching tags.
    #[serde(default = "one", deserialize_with = "read_newest")]
    #[cfg_attr(test, schemars(range(min = 1, max = MOST_NEWEST)))]
    newest: usize,
    /// The order that decides which images are the newest. `pushTime` is the push time of the
    /// image; a new tag on an old image does not make it newer. Without this field: `pushTime`
    /// for `tags`, `version` for `versions`.
    by: Option<NewestBy>,
    /// With `true`, Frontload refuses the build if the rule matches nothing. With `false`, the
    /// result has a warning.
    #[serde(default)]
    required: bool,
}

/// More images of one repository would not fit into a manifest.
const MOST_NEWEST: i64 = 50;

fn one() -> usize {
    1
}

fn read_newest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let newest = i64::deserialize(deserializer)?;
    match usize::try_from(newest) {
        Ok(count) if (1..=MOST_NEWEST).contains(&newest) => Ok(count),
        _ => Err(serde::de::Error::custom(format!(
            "{newest} is out of range: use 1 to {MOST_NEWEST}"
        ))),
    }
}

impl TryFrom<RuleDocument> for TagRule {
    type Error = &'static str;

    fn try_from(written: RuleDocument) -> Result<Self, &'static str> {
        let (pattern, order) = match (written.tags, written.versions) {
            (Some(glob), None) => (TagPattern::Glob(glob), NewestBy::PushTime),
            (None, Some(range)) => (TagPattern::Versions(range), NewestBy::Version),
            _ => {
                return Err("a rule needs either tags, such as \"v*\", or versions, such as \
                     \">=1.2, <2\"");
            }
        };
        let order = written.by.unwrap_or(order);
        let RuleDocument { repository, newest, required, .. } = written;
        Ok(Self { repository, pattern, newest, order, required })
    }
}

impl TagRule {
    /// The repository of its images.
    #[must_use]
    pub fn repository(&self) -> &EcrRepository {
        &self.repository
    }

    /// Whether the cache must not be built when nothing matches.
    #[must_use]
    pub fn required(&self) -> bool {
        self.required
    }

    /// Whether an image with this tag is a candidate. If versions decide, a tag that is not a
    /// version is no candidate.
    #[must_use]
    pub fn matches(&self, tag: &Tag) -> bool {
        if is_attachment(tag) {
            return false;
        }
        match &self.pattern {
            TagPattern::Glob(glob) => {
                let is_ranked = self.order == NewestBy::PushTime || read_version(tag).is_some();
                is_ranked && glob.matches(tag.as_str())
            }
            TagPattern::Versions(VersionRange(range)) => {
                read_version(tag).is_some_and(|version| range.matches(&version))
            }
        }
    }
}

impl fmt::Display for TagRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            TagPattern::Glob(glob) => write!(f, "{} with tags {glob}", self.repository),
            TagPattern::Versions(VersionRange(range)) => {
                write!(f, "{} with versions {range}", self.repository)
            }
        }
    }
}

/// Signatures and other attachments have tags `sha256-<digest>`, some with a suffix (OCI
/// distribution specification, "Referrers Tag Schema"; cosign).
fn is_attachment(tag: &Tag) -> bool {
    let rest = tag.as_str().strip_prefix("sha256-").unwrap_or_default();
    rest.len() >= 64 && rest.bytes().take(64).all(|b| b.is_ascii_hexdigit())
}

/// The semantic version in a tag, with or without a leading `v`.
fn read_version(tag: &Tag) -> Option<Version> {
    let text = tag.as_str();
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

/// A range of semantic versions in Cargo's form.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(try_from = "String")]
#[cfg_attr(test, schemars(with = "String", extend("maxLength" = MAX_RANGE)))]
struct VersionRange(VersionReq);

/// Longest range accepted.
const MAX_RANGE: usize = 200;

impl TryFrom<String> for VersionRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refuse = |why: &str| {
            let text = quoted(&text);
            Err(format!("{text} is not a range of versions: {why}; write for instance >=1.2, <2"))
        };
        if text.len() > MAX_RANGE {
            return refuse(&format!("it is longer than {MAX_RANGE} characters"));
        }
        match VersionReq::parse(&text) {
            Ok(range) => Ok(Self(range)),
            Err(error) => refuse(&error.to_string()),
        }
    }
}

/// `Ok` when `text` consists of 1 to `most` characters: `*`, `?` and those of `is_part`.
fn check_glob(text: &str, most: usize, is_part: fn(char) -> bool) -> Result<(), String> {
    if (1..=most).contains(&text.len()) && text.chars().all(|c| is_part(c) || "*?".contains(c)) {
        return Ok(());
    }
    Err(format!(
        "{} is not a pattern: write the name with * for any characters and ? for one",
        quoted(text)
    ))
}

checked_string!(
    /// A pattern of tags: `*` stands for any characters, `?` for one.
    #[cfg_attr(test, schemars(extend("pattern" = r"^[A-Za-z0-9_.*?-]{1,128}$")))]
    TagGlob,
    |text| check_glob(text, 128, |c| c.is_ascii_alphanumeric() || "_.-".contains(c))
);

checked_string!(
    /// A pattern of repositories' names; `*` matches `/` too.
    RepositoryGlob,
    |text| check_glob(text, 255, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-/".contains(c)
    })
);

impl TagGlob {
    fn matches(&self, tag: &str) -> bool {
        WildMatch::new(self.as_str()).matches(tag)
    }
}

impl RepositoryGlob {
    fn matches(&self, name: &RepositoryName) -> bool {
        WildMatch::new(self.as_str()).matches(name.as_str())
    }
}

/// A pattern of pushes, `repository:tag`: `*` stands for any characters, `/` included, and `?`
/// for one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
#[serde(try_from = "String")]
#[cfg_attr(test, schemars(with = "String", extend(
    "pattern" = r"^[a-z0-9_./*?-]{1,255}:[A-Za-z0-9_.*?-]{1,128}$"
)))]
pub struct WatchPattern {
    repository: RepositoryGlob,
    tag: TagGlob,
}

impl WatchPattern {
    /// Whether a push of `image` counts. A missing tag counts as an empty one.
    #[must_use]
    pub fn matches(&self, image: &EcrImage) -> bool {
        let tag = image.tag.as_ref().map_or("", Tag::as_str);
        self.repository.matches(&image.repository) && self.tag.matches(tag)
    }
}

impl TryFrom<String> for WatchPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some((repository, tag)) = text.split_once(':') else {
            return Err(format!(
                "{} has no colon: write <repository>:<tag>, such as team/*:v*",
                quoted(&text)
            ));
        };
        Ok(Self { repository: repository.parse()?, tag: tag.parse()? })
    }
}

/// An image in a private ECR registry, as an event reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcrImage {
    /// The registry's account.
    pub account: AccountId,
    /// The registry's region.
    pub region: RegionName,
    /// The repository's name.
    pub repository: RepositoryName,
    /// The tag, if it was pushed under one.
    pub tag: Option<Tag>,
    /// The image's digest, if the event reports it.
    pub digest: Option<Digest>,
}

impl fmt::Display for EcrImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.repository.as_str())?;
        match (&self.tag, &self.digest) {
            (Some(tag), _) => write!(f, ":{tag}")?,
            (None, Some(digest)) => write!(f, "@{digest}")?,
            (None, None) => (),
        }
        write!(f, " in account {} in {}", self.account, self.region)
    }
}

/// An image of a repository with its tags, as ECR lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedImage {
    /// Digest of the index or the manifest.
    pub digest: Digest,
    /// All its tags.
    pub tags: Vec<Tag>,
    /// When it was pushed, in milliseconds since 1970-01-01 UTC.
    pub pushed_at: i64,
}

/// An image with the data that decides which of two is newer.
struct Candidate<'a> {
    digest: &'a Digest,
    tags: BTreeSet<&'a Tag>,
    version: Option<Version>,
    pushed_at: i64,
}

/// The newest images that match a rule, newest first, with their matching tags in alphabetical
/// order. The order of `found` does not matter. The version decides between images with the same
/// push time, and the push time between images with the same version. The digest decides last.
#[must_use]
pub fn choose(rule: &TagRule, found: &[TaggedImage]) -> Vec<TaggedImage> {
    let mut candidates = gather(rule, found);
    candidates.sort_by(|a, b| {
        let by_time = b.pushed_at.cmp(&a.pushed_at);
        let by_version = b.version.cmp(&a.version);
        let newest_first = match rule.order {
            NewestBy::PushTime => by_time.then(by_version),
            NewestBy::Version => by_version.then(by_time),
        };
        newest_first.then_with(|| b.digest.cmp(a.digest))
    });
    let newest = candidates.into_iter().take(rule.newest);
    newest
        .map(|candidate| TaggedImage {
            digest: candidate.digest.clone(),
            tags: candidate.tags.into_iter().cloned().collect(),
            pushed_at: candidate.pushed_at,
        })
        .collect()
}

/// The matching images, each once. A list contains an image twice if it is pushed again between
/// two pages.
fn gather<'a>(rule: &TagRule, found: &'a [TaggedImage]) -> Vec<Candidate<'a>> {
    let mut candidates: BTreeMap<&Digest, Candidate<'a>> = BTreeMap::new();
    for image in found {
        let tags: Vec<&Tag> = image.tags.iter().filter(|tag| rule.matches(tag)).collect();
        if tags.is_empty() {
            continue;
        }
        let candidate = candidates.entry(&image.digest).or_insert_with(|| Candidate {
            digest: &image.digest,
            tags: BTreeSet::new(),
            version: None,
            pushed_at: image.pushed_at,
        });
        candidate.pushed_at = candidate.pushed_at.max(image.pushed_at);
        candidate.version =
            tags.iter().filter_map(|tag| read_version(tag)).chain(candidate.version.take()).max();
        candidate.tags.extend(tags);
    }
    candidates.into_values().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

    fn rule(fields: &Value) -> TagRule {
        let mut written = json!({"repository": format!("{HOST}/team/app")});
        written.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(written).unwrap()
    }

    fn digest(seed: u8) -> Digest {
        format!("sha256:{seed:064x}").parse().unwrap()
    }

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    fn listed(seed: u8, pushed_at: i64, tags: &[&str]) -> TaggedImage {
        let tags = tags.iter().map(|text| tag(text)).collect();
        TaggedImage { digest: digest(seed), tags, pushed_at }
    }

    /// The tags of what is chosen, image by image.
    fn chosen(fields: &Value, found: &[TaggedImage]) -> Vec<String> {
        let joined = |image: &TaggedImage| {
            image.tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        choose(&rule(fields), found).iter().map(joined).collect()
    }

    fn pushed(tag: &str) -> EcrImage {
        EcrImage {
            account: "123456789012".parse().unwrap(),
            region: "us-east-1".parse().unwrap(),
            repository: "team/app".parse().unwrap(),
            tag: Some(tag.parse().unwrap()),
            digest: Some(digest(1)),
        }
    }

    fn fixed(text: &str) -> Selection {
        serde_json::from_value(json!(text)).unwrap()
    }

    #[test]
    fn a_newer_version_takes_the_place_of_the_oldest() {
        let fields = json!({"versions": ">=1, <2", "newest": 3});
        let mut found = vec![
            listed(5, 50, &["v1.5.0"]),
            listed(6, 60, &["v1.6.0"]),
            listed(7, 70, &["v1.7.0"]),
            listed(8, 90, &["v2.0.0"]),
        ];
        assert_eq!(chosen(&fields, &found), ["v1.7.0", "v1.6.0", "v1.5.0"]);
        found.push(listed(9, 80, &["v1.8.0"]));
        assert_eq!(chosen(&fields, &found), ["v1.8.0", "v1.7.0", "v1.6.0"]);
    }

    #[test]
    fn versions_are_compared_as_numbers_and_pushes_by_time() {
        let found = [listed(1, 10, &["v1.10.0"]), listed(2, 20, &["v1.9.0"])];
        assert_eq!(chosen(&json!({"versions": "*"}), &found), ["v1.10.0"]);
        assert_eq!(chosen(&json!({"versions": "*", "by": "pushTime"}), &found), ["v1.9.0"]);
        assert_eq!(chosen(&json!({"tags": "v*"}), &found), ["v1.9.0"]);
        assert_eq!(chosen(&json!({"tags": "v*", "by": "version"}), &found), ["v1.10.0"]);
    }

    #[test]
    fn an_image_counts_once_and_brings_all_its_matching_tags() {
        let found = [
            listed(1, 10, &["v1.2.0", "latest", "1.2.0"]),
            listed(2, 5, &["v1.1.0"]),
            listed(3, 1, &["v1.0.0"]),
        ];
        let fields = json!({"versions": "*", "newest": 2});
        assert_eq!(chosen(&fields, &found), ["1.2.0 v1.2.0", "v1.1.0"]);
    }

    #[test]
    fn a_pre_release_is_chosen_only_by_a_range_that_names_one() {
        let found = [listed(1, 1, &["v1.2.0"]), listed(2, 2, &["v1.3.0-rc.1"])];
        assert_eq!(chosen(&json!({"versions": ">=1"}), &found), ["v1.2.0"]);
        assert_eq!(chosen(&json!({"versions": ">=1.3.0-rc.0"}), &found), ["v1.3.0-rc.1"]);
    }

    #[test]
    fn tags_without_a_version_are_ignored_when_versions_decide() {
        let found = [listed(1, 1, &["v1.2.0"]), listed(2, 2, &["v1", "1.2", "vlatest", "v1.02.0"])];
        assert_eq!(chosen(&json!({"versions": "*", "newest": 9}), &found), ["v1.2.0"]);
        let fields = json!({"tags": "v*", "by": "version", "newest": 9});
        assert_eq!(chosen(&fields, &found), ["v1.2.0"]);
    }

    #[test]
    fn images_with_equal_push_times_are_ordered_by_version_then_digest() {
        let found = [listed(3, 1, &["v1.9.0"]), listed(2, 1, &["v1.10.0"]), listed(1, 1, &["va"])];
        assert_eq!(chosen(&json!({"tags": "v*"}), &found), ["v1.10.0"]);
        let found = [listed(1, 1, &["va"]), listed(2, 1, &["vb"])];
        assert_eq!(chosen(&json!({"tags": "v*"}), &found), ["vb"]);
    }

    #[test]
    fn an_image_that_is_listed_twice_is_one_image() {
        let found = [listed(1, 1, &["va"]), listed(1, 9, &["vb"]), listed(2, 5, &["vc"])];
        assert_eq!(chosen(&json!({"tags": "v*", "newest": 9}), &found), ["va vb", "vc"]);
    }

    #[test]
    fn an_overlong_range_is_refused() {
        let error = VersionRange::try_from(format!(">=1.0.0-{}", "a".repeat(300))).unwrap_err();
        assert!(error.contains("it is longer than 200 characters"), "{error}");
    }

    #[test]
    fn signatures_are_not_images() {
        let signature = format!("sha256-{}.sig", "a".repeat(64));
        let found = [listed(1, 1, &["v1"]), listed(2, 2, &[&signature])];
        assert_eq!(chosen(&json!({"tags": "*", "newest": 9}), &found), ["v1"]);
    }

    #[test]
    fn a_push_concerns_references_by_that_tag_only() {
        let concerns = |text: &str| fixed(text).concerns(&pushed("v1"));
        assert!(concerns(&format!("{HOST}/team/app:v1")));
        assert!(!concerns(&format!("{HOST}/team/app:v2")));
        assert!(!concerns(&format!("{HOST}/team/other:v1")));
        assert!(!concerns("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1"));
        assert!(!concerns("210987654321.dkr.ecr.us-east-1.amazonaws.com/team/app:v1"));
        assert!(!concerns("ghcr.io/team/app:v1"));
    }

    #[test]
    fn a_push_concerns_references_by_its_digest() {
        let concerns = |text: &str| {
            let untagged = EcrImage { tag: None, ..pushed("v1") };
            [fixed(text).concerns(&untagged), fixed(text).concerns(&pushed("v1"))]
        };
        assert_eq!(concerns(&format!("{HOST}/team/app@{}", digest(1))), [true, true]);
        assert_eq!(concerns(&format!("{HOST}/team/app:old@{}", digest(1))), [true, true]);
        assert_eq!(concerns(&format!("{HOST}/team/app:v1@{}", digest(2))), [false, false]);
        assert_eq!(concerns(&format!("{HOST}/team/other@{}", digest(1))), [false, false]);
        assert_eq!(concerns(&format!("{HOST}/team/app:v1")), [false, true]);
    }

    #[test]
    fn a_push_concerns_a_rule_by_repository_and_tag() {
        let rule = Selection::Rule(rule(&json!({"tags": "v1.?"})));
        assert!(rule.concerns(&pushed("v1.5")));
        assert!(!rule.concerns(&pushed("v1.50")));
        assert!(!rule.concerns(&EcrImage { tag: None, ..pushed("v1.5") }));
        let other = "team/other".parse().unwrap();
        assert!(!rule.concerns(&EcrImage { repository: other, ..pushed("v1.5") }));
        let other = "210987654321".parse().unwrap();
        assert!(!rule.concerns(&EcrImage { account: other, ..pushed("v1.5") }));
        let other = "eu-west-1".parse().unwrap();
        assert!(!rule.concerns(&EcrImage { region: other, ..pushed("v1.5") }));
    }

    #[test]
    fn a_watch_pattern_matches_repository_and_tag() {
        let matches = |pattern: &str, image: &EcrImage| {
            WatchPattern::try_from(pattern.to_owned()).unwrap().matches(image)
        };
        assert!(matches("team/*:v*", &pushed("v1")));
        assert!(matches("*:v?", &pushed("v1")));
        assert!(!matches("team/*:v*", &pushed("1")));
        assert!(!matches("team:v*", &pushed("v1")));
        let untagged = EcrImage { tag: None, ..pushed("v1") };
        assert!(matches("team/app:*", &untagged) && !matches("team/app:v*", &untagged));
    }

    #[test]
    fn an_image_is_shown_by_its_tag_or_else_its_digest() {
        let image = pushed("v1");
        assert_eq!(image.to_string(), "team/app:v1 in account 123456789012 in us-east-1");
        let shown = EcrImage { tag: None, ..image }.to_string();
        assert!(shown.starts_with("team/app@sha256:00"), "{shown}");
    }

    #[test]
    fn a_rule_is_shown_with_its_pattern() {
        let shown = rule(&json!({"versions": ">=1.2, <2"})).to_string();
        assert_eq!(shown, format!("{HOST}/team/app with versions >=1.2, <2"));
        assert_eq!(
            rule(&json!({"tags": "v*"})).to_string(),
            format!("{HOST}/team/app with tags v*")
        );
    }

    /// A repository as a burst of pushes may leave it.
    fn any_repository() -> impl Strategy<Value = Vec<TaggedImage>> {
        let tag = prop_oneof!["v[0-2]\\.[0-9]\\.[0-9]", "v[0-9]", "[a-z]{1,3}", "1\\.[0-9]\\.0-rc"];
        let image = (0u8..20, 0i64..5, prop::collection::vec(tag, 1..4)).prop_map(
            |(seed, pushed_at, tags)| {
                let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
                listed(seed, pushed_at, &tags)
            },
        );
        prop::collection::vec(image, 0..20)
    }

    /// Mostly a repository, sometimes nearly one.
    fn any_repository_text() -> impl Strategy<Value = String> {
        let nearly = "[ -~\n]{0,20}|[a-z;$ ()`\n]{0,9}".prop_map(|name| format!("{HOST}/{name}"));
        prop_oneof![3 => Just(format!("{HOST}/team/app")), 1 => nearly, 1 => "[ -~\n]{0,20}"]
    }

    fn any_rule() -> impl Strategy<Value = TagRule> {
        let pattern = prop_oneof![
            Just(("tags", "v*")),
            Just(("tags", "?")),
            Just(("tags", "*")),
            Just(("versions", "*")),
            Just(("versions", ">=1, <2")),
            Just(("versions", ">=1.2.0-rc")),
        ];
        let by = prop_oneof![Just("pushTime"), Just("version")];
        (pattern, by, 1usize..5).prop_map(|((field, pattern), by, newest)| {
            let mut fields = json!({"by": by, "newest": newest});
            fields[field] = json!(pattern);
            rule(&fields)
        })
    }

    proptest! {
        #[test]
        fn a_rule_selects_at_most_its_number_and_each_digest_once(
            rule in any_rule(), found in any_repository(),
        ) {
            let chosen = choose(&rule, &found);
            prop_assert!(chosen.len() <= rule.newest);
            let digests: BTreeSet<_> = chosen.iter().map(|image| &image.digest).collect();
            prop_assert_eq!(digests.len(), chosen.len());
        }

        #[test]
        fn the_order_of_the_list_does_not_matter(
            rule in any_rule(),
            (found, shuffled) in any_repository()
                .prop_flat_map(|found| (Just(found.clone()), Just(found).prop_shuffle())),
        ) {
            prop_assert_eq!(choose(&rule, &found), choose(&rule, &shuffled));
        }

        #[test]
        fn chosen_images_match_and_matches_are_dropped_only_beyond_the_limit(
            rule in any_rule(), found in any_repository(),
        ) {
            let chosen = choose(&rule, &found);
            prop_assert!(chosen.iter().all(|image| !image.tags.is_empty()));
            prop_assert!(chosen.iter().flat_map(|image| &image.tags).all(|tag| rule.matches(tag)));
            let matching: BTreeSet<_> = found
                .iter()
                .filter(|image| image.tags.iter().any(|tag| rule.matches(tag)))
                .map(|image| &image.digest)
                .collect();
            prop_assert_eq!(chosen.len(), matching.len().min(rule.newest));
        }

        #[test]
        fn a_hostile_rule_is_refused_or_safe_for_shell_and_log(
            repository in any_repository_text(),
            field in prop_oneof!["tags", "versions", "by"],
            pattern in "[ -~\n]{0,12}|[v0-9*?.<>=, ^~-]{0,9}|\\PC{0,300}",
            newest in -2i64..60,
        ) {
            let mut written = json!({"repository": repository, "newest": newest});
            written[&field] = json!(pattern);
            if let Ok(rule) = serde_json::from_value::<TagRule>(written) {
                let shown = rule.to_string();
                prop_assert!((1..=50).contains(&rule.newest));
                prop_assert!(
                    shown.chars().all(|c| c.is_ascii_alphanumeric() || " ._-/*?<>=,^~".contains(c)),
                    "{shown:?}"
                );
            }
            if let Err(error) = VersionRange::try_from(pattern.clone()) {
                prop_assert!(!error.contains('\n') && error.len() < 600, "{error:?}");
            }
            if let Err(error) = WatchPattern::try_from(pattern) {
                prop_assert!(!error.contains('\n') && error.len() < 600, "{error:?}");
            }
        }
    }
}
