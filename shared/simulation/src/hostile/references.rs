//! Tests of image references and of every other string type (S7).

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::corpus;
use frontload_domain::build::{ImageId, OsVersion};
use frontload_domain::cache::{InstanceType, SecurityGroupId, SubnetId, Variant};
use frontload_domain::manifest::FrontloadVersion;
use frontload_domain::names::{ExecutionArn, InstanceId};
use frontload_domain::place::{BusName, KeyArn, RoleName, ZoneName};
use frontload_domain::pulled::ContainerdVersion;
use frontload_domain::snapshot::SnapshotId;
use frontload_domain::testing::{assert_harmless, assert_sentence, nasty};
use frontload_domain::{
    AccountId, BuildId, CacheName, Digest, EcrRepository, ImageReference, ParameterPrefix,
    RegionName, RepositoryName, Tag,
};

use super::input::{config, nasty_text};

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const HOST: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// Checks that an accepted text is harmless and round-trips, and that a refusal is a sentence.
fn check<T>(text: &str)
where
    T: std::str::FromStr<Err = String> + std::fmt::Display + PartialEq + std::fmt::Debug,
{
    match text.parse::<T>() {
        Ok(value) => {
            let shown = value.to_string();
            assert_eq!(shown, text);
            assert_harmless(&shown);
            assert!(!shown.is_empty());
            assert_eq!(shown.parse::<T>(), Ok(value));
        }
        Err(problem) => assert_sentence(&problem),
    }
}

/// The check of a string type, and a text that the type accepts.
type Kind = (fn(&str), String);

/// Every string type.
fn kinds() -> Vec<Kind> {
    let of = |check: fn(&str), good: &str| (check, good.to_owned());
    vec![
        of(check::<ImageReference>, &format!("{HOST}/team/app:v1@sha256:{HEX}")),
        of(check::<ImageReference>, "localhost:5000/some__odd--name:_T.a-g"),
        of(check::<Digest>, &format!("sha256:{HEX}")),
        of(check::<Tag>, "v1.2.3_a-b"),
        of(check::<RepositoryName>, "team/app__x"),
        of(check::<CacheName>, "gpu-2"),
        of(check::<BuildId>, "default-x86-64-0123456789ab"),
        of(check::<ParameterPrefix>, "/team/frontload"),
        of(check::<RegionName>, "us-gov-west-1"),
        of(check::<AccountId>, "123456789012"),
        of(check::<ZoneName>, "eu-west-1a"),
        of(check::<KeyArn>, "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab"),
        of(check::<RoleName>, "frontload-consumer"),
        of(check::<BusName>, "default"),
        of(check::<Variant>, "aws-k8s-1.35"),
        of(check::<InstanceType>, "m6i.large"),
        of(check::<SubnetId>, "subnet-0abc"),
        of(check::<SecurityGroupId>, "sg-0abc"),
        of(check::<ImageId>, "ami-0abc"),
        of(check::<OsVersion>, "1.57.0-abcdef01"),
        of(check::<ContainerdVersion>, "1.6.20~ds1"),
        of(check::<SnapshotId>, "snap-0abc"),
        of(check::<InstanceId>, "i-0abc"),
        of(check::<ExecutionArn>, "arn:aws:states:us-east-1:123456789012:execution:build:a"),
        of(check::<FrontloadVersion>, "0.1.0-rc.1"),
    ]
}

/// Names up to the limits of their types, made of words that would be commands.
fn repository() -> impl Strategy<Value = String> {
    prop_oneof![
        "canary(/canary|-canary|__canary|\\.canary){0,4}",
        (1..=260_usize).prop_map(|length| "a".repeat(length)),
        nasty_text(),
    ]
}

fn tag() -> impl Strategy<Value = String> {
    prop_oneof![
        "canary[-._a-z0-9A-Z]{0,9}",
        (1..=130_usize).prop_map(|length| "T".repeat(length)),
        nasty_text(),
    ]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(HOST.to_owned()),
        Just("canary.canary:80".to_owned()),
        Just("localhost".to_owned()),
        nasty_text(),
    ]
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn no_string_type_accepts_hostile_text(
        kind in select(kinds()), at in any::<Index>(), with in select(nasty()), alone in nasty_text(),
    ) {
        let (check, good) = kind;
        let at = at.index(good.len() + 1);
        check(&good);
        check(&format!("{}{with}{}", &good[..at], &good[at..]));
        check(&alone);
    }

    #[test]
    fn a_reference_of_accepted_parts_is_read_back(
        host in host(), repository in repository(), tag in tag(), digested in any::<bool>(),
    ) {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        let text = format!("{host}/{repository}:{tag}");
        check::<ImageReference>(&if digested { format!("{text}@{digest}") } else { text.clone() });
        if let Ok(reference) = text.parse::<ImageReference>() {
            check::<ImageReference>(&reference.clone().with_digest(&digest).to_string());
            check::<ImageReference>(&reference.at_digest(&digest));
            check::<ImageReference>(&reference.at_tag().unwrap());
        }
        let rule = EcrRepository::try_from(format!("{host}/{repository}"));
        if let (Ok(repository), Ok(tag)) = (rule, tag.parse::<Tag>()) {
            let reference = repository.at_tag(&tag);
            prop_assert_eq!(reference.to_string().parse::<ImageReference>(), Ok(reference.clone()));
            let held = reference.with_digest(&digest);
            prop_assert_eq!(held.to_string().parse::<ImageReference>(), Ok(held));
        }
    }
}

#[test]
fn a_repository_too_long_for_a_reference_is_refused() {
    let longest = 255 - HOST.len() - 1;
    let named = |length| EcrRepository::try_from(format!("{HOST}/{}", "a".repeat(length)));
    assert!(named(longest).is_ok());
    let problem = named(longest + 1).unwrap_err();
    assert!(problem.contains("256 characters, at most 255 fit"), "{problem}");
}

#[test]
fn the_longest_name_tag_and_digest_make_a_reference() {
    let name = format!("localhost/{}", "a".repeat(245));
    let text = format!("{name}:{}@sha256:{HEX}", "b".repeat(128));
    assert_eq!(text.parse::<ImageReference>().unwrap().to_string(), text);
    assert!(format!("{text}0").parse::<ImageReference>().is_err());
}

#[test]
fn an_ecr_host_with_a_port_or_capitals_is_refused() {
    for host in [
        "210987654321.dkr.ecr.us-east-1.amazonaws.com:443",
        "210987654321.DKR.ECR.us-east-1.amazonaws.com",
        "210987654321.dkr.ecr.US-EAST-1.amazonaws.com",
        "210987654321.dkr.ecr.us-east-1.AmazonAWS.com:443",
    ] {
        let problem = format!("{host}/a:b").parse::<ImageReference>().unwrap_err();
        assert!(problem.ends_with("write <account>.dkr.ecr.<region>.amazonaws.com"), "{problem}");
    }
    assert!("dkr.ecr.example.com:443/a:b".parse::<ImageReference>().is_ok());
}

#[test]
fn each_written_reference_is_refused_or_accepted_as_its_file_says() {
    for (name, text, accepted) in corpus("references") {
        let text = text.trim_end_matches('\n');
        assert_eq!(text.parse::<ImageReference>().is_ok(), accepted, "{name}");
        check::<ImageReference>(text);
    }
}
