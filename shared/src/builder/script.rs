//! Renders the command that SSM carries to the builder.
//!
//! The script itself is [`PULL`], the same for every build. In front of it stand
//! assignments made from parsed types, whose alphabets hold no quote, space or
//! line end; the whole travels as base64, so that no shell on the way reads it.

use std::cmp::Reverse;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::{Build, Digest, PlannedImage, TimeLimits};

/// The body of the script.
const PULL: &str = include_str!("pull.sh");

/// Seconds that the script keeps for itself before SSM's own limit ends it: it
/// can then still say which image was under way.
const REPORTING_SECONDS: u32 = 10;

/// Seconds from the end of the last time limit to the builder's own end: room for the state
/// machine's looks in between.
const EXPIRY_GRACE_SECONDS: u32 = 900;

/// The command that asks whether the admin container answers. `PingStatus
/// Online` says only that the control container runs.
pub const PROBE: &str = "apiclient exec admin true";

/// The script for the admin container's bash.
#[must_use]
pub fn render(build: &Build) -> String {
    let images: Vec<String> = build.images.iter().map(image_line).collect();
    let limit = build.time_limits.pull_seconds;
    let ancestor_listing = build.ancestor.as_ref().map_or("-", |of| of.listing.as_str());
    format!(
        "architecture={}\nsnapshotter={}\nlimit_seconds={}\nexpiry_seconds={}\n\
         ancestor_listing={}\norder='{}'\nimages='{}'\n{PULL}",
        build.architecture.oci(),
        build.builder.snapshotter.as_str(),
        limit.saturating_sub(REPORTING_SECONDS).max(1),
        expiry_seconds(&build.time_limits),
        ancestor_listing,
        in_order(&build.images).join(" "),
        images.join("\n"),
    )
}

/// Seconds from the beginning of the script until the builder shuts down by itself, which EC2
/// takes for its termination: by then the images are pulled and the volume is snapshotted, or
/// they never will be.
fn expiry_seconds(limits: &TimeLimits) -> u32 {
    limits.pull_seconds.saturating_add(limits.snapshot_seconds).saturating_add(EXPIRY_GRACE_SECONDS)
}

/// The indexes of the images in the order in which they are begun: each after the one
/// that it waits for, and of the others those that take longest first, so that what
/// is begun last is short. One of unknown size may be the longest of all.
fn in_order(images: &[PlannedImage]) -> Vec<String> {
    let depth = |index: usize| {
        let next = |&at: &usize| images.get(at)?.waits_for;
        std::iter::successors(Some(index), next).take(images.len()).count()
    };
    let mut order: Vec<usize> = (0..images.len()).collect();
    let size = |index: usize| images[index].compressed_bytes.unwrap_or(u64::MAX);
    order.sort_by_key(|&index| (depth(index), Reverse(size(index))));
    order.iter().map(ToString::to_string).collect()
}

/// The one line that SSM's `AWS-RunShellScript` runs in the control container:
/// `$0` is the agent's copy of it, whose path tells the script its command id.
#[must_use]
pub fn ssm_command(build: &Build) -> String {
    let encoded = STANDARD.encode(render(build));
    format!(r#"apiclient exec admin bash -c "$(echo {encoded} | base64 -d)" frontload "$0""#)
}

/// `reference repository tag digest region waits shared manifest`, `-` where there is none.
/// `waits` is the index of the image that unpacks what this one shares with others, or
/// `alone` where the layers are unknown; `shared` is the topmost layer of that.
fn image_line(image: &PlannedImage) -> String {
    let reference = &image.reference;
    let digest = image.digest.as_ref().or(reference.digest());
    let ecr = reference.ecr_registry();
    let waits = match (image.waits_for, image.compressed_bytes) {
        (Some(index), _) => index.to_string(),
        (None, Some(_)) => "-".to_owned(),
        (None, None) => "alone".to_owned(),
    };
    format!(
        "{reference} {}/{} {} {} {} {waits} {} {}",
        reference.registry(),
        reference.repository(),
        reference.tag().unwrap_or("-"),
        or_dash(digest),
        ecr.as_ref().map_or("-", |ecr| ecr.region.as_str()),
        or_dash(image.shared_layer.as_ref()),
        or_dash(image.manifest.as_ref()),
    )
}

fn or_dash(digest: Option<&Digest>) -> &str {
    digest.map_or("-", Digest::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::tests::sample;

    #[test]
    fn an_image_becomes_one_line_of_eight_words() {
        let build = sample();
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            image_line(&build.images[0]),
            format!(
                "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1 \
                 123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app v1 {digest} us-east-1 - - -"
            )
        );
        let public = PlannedImage {
            reference: "public.ecr.aws/nginx/nginx:1.27".parse().unwrap(),
            digest: None,
            compressed_bytes: None,
            manifest: None,
            waits_for: None,
            shared_layer: None,
        };
        assert_eq!(
            image_line(&public),
            "public.ecr.aws/nginx/nginx:1.27 public.ecr.aws/nginx/nginx 1.27 - - alone - -"
        );
        let layer = format!("sha256:{}", "b".repeat(64));
        let waiting = PlannedImage {
            waits_for: Some(3),
            shared_layer: Some(layer.parse().unwrap()),
            manifest: Some(digest.parse().unwrap()),
            ..build.images[0].clone()
        };
        assert!(image_line(&waiting).ends_with(&format!(" us-east-1 3 {layer} {digest}")));
    }

    #[test]
    fn what_takes_longest_is_begun_first_but_after_what_it_waits_for() {
        let image = |compressed_bytes, waits_for| PlannedImage {
            compressed_bytes,
            waits_for,
            ..sample().images[0].clone()
        };
        let images = [Some(1), Some(3), None, Some(2)].map(|bytes| image(bytes, None));
        assert_eq!(in_order(&images).join(" "), "2 1 3 0");
        let chain = [image(Some(9), Some(2)), image(Some(8), Some(0)), image(Some(1), None)];
        assert_eq!(in_order(&chain).join(" "), "2 0 1");
    }

    #[test]
    fn the_script_names_the_image_as_the_index_does_and_ends_before_ssm_would() {
        let script = render(&sample());
        assert!(
            script.starts_with("architecture=amd64\nsnapshotter=overlayfs\nlimit_seconds=3590\n")
        );
    }

    #[test]
    fn a_builder_outlives_pull_and_snapshot_and_then_ends_by_itself() {
        let limits = &sample().time_limits;
        let least = limits.pull_seconds + limits.snapshot_seconds;
        assert!((least..least + 3600).contains(&expiry_seconds(limits)));
        assert!(render(&sample()).contains("\nexpiry_seconds=11700\n"));
        let place = |text: &str| PULL.find(text).unwrap_or_else(|| panic!("{text:?} is missing"));
        assert!(place("\nset_expiry \"${1-}\"\n") < place("\nmask_kubelet\n"));
    }

    #[test]
    fn nothing_in_the_ssm_command_is_left_to_a_shell() {
        let command = ssm_command(&sample());
        let encoded = command
            .strip_prefix(r#"apiclient exec admin bash -c "$(echo "#)
            .and_then(|rest| rest.strip_suffix(r#" | base64 -d)" frontload "$0""#))
            .unwrap();
        assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)));
    }

    #[test]
    fn the_script_flushes_after_the_last_write_and_before_it_reports() {
        let place = |text: &str| PULL.rfind(text).unwrap_or_else(|| panic!("{text:?} is missing"));
        assert!(place("\nscrub ") < place("\nflush\n"));
        assert!(place("\nflush\n") < place("flushed: true"));
    }
}
