//! Renders the command that SSM carries to the builder.
//!
//! The script [`PULL`] is the same for every build. Before it come assignments made from parsed
//! types, whose alphabets contain no quote, space, backtick or line end.
//!
//! The script goes through the standard input of `apiclient exec`. As an argument it would be
//! refused: its JSON form may have 65,536 bytes and takes three to four bytes for each byte
//! (bottlerocket-core-kit, `sources/api/apiserver/src/server/exec`). A here-document with a quoted
//! delimiter passes it on unchanged. The reader in the admin container waits for one backtick and
//! not for the end of the input, which `apiclient` does not always pass on. A truncated script
//! therefore never runs.

use std::cmp::Reverse;

use frontload_domain::{Build, Digest, ImageReference, PlannedImage, TimeLimits};

/// The body of the script. `tools/pull_script.py` reads the order of its parts from here.
const PULL: &str = concat!(
    include_str!("pull/setup.sh"),
    include_str!("pull/report.sh"),
    include_str!("pull/host.sh"),
    include_str!("pull/ecr_tokens.sh"),
    include_str!("pull/pull_image.sh"),
    include_str!("pull/list_images.sh"),
    include_str!("pull/log_in.sh"),
    include_str!("pull/schedule.sh"),
    include_str!("pull/check_images.sh"),
    include_str!("pull/remove.sh"),
    include_str!("pull/ancestor.sh"),
    include_str!("pull/scrub.sh"),
    include_str!("pull/main.sh"),
);

/// Seconds that the script reserves before SSM's own limit ends it, so that it can still report
/// which image it was pulling.
const REPORTING_SECONDS: u32 = 10;

/// Seconds from the end of the last time limit until the builder shuts itself down. They leave room
/// for the state machine's polls in between.
const EXPIRY_GRACE_SECONDS: u32 = 900;

/// The command that checks whether the admin container responds. `PingStatus Online` shows only
/// that the control container runs.
pub const PROBE: &str = "apiclient exec admin true";

/// The script for the admin container's bash.
#[must_use]
pub fn render(build: &Build) -> String {
    let repositories = repositories(&build.images);
    let images: Vec<String> =
        build.images.iter().map(|image| image_line(image, &repositories)).collect();
    let limit = build.time_limits.pull_seconds;
    let ancestor_listing = build.ancestor.as_ref().map_or("-", |of| of.listing.as_str());
    format!(
        "architecture={}\nsnapshotter={}\nlimit_seconds={}\nexpiry_seconds={}\n\
         ancestor_listing={}\norder='{}'\nrepository_list='{}'\nimages='{}'\n{}",
        build.architecture.oci(),
        build.builder.snapshotter.as_str(),
        limit.saturating_sub(REPORTING_SECONDS).max(1),
        expiry_seconds(&build.time_limits),
        ancestor_listing,
        in_order(&build.images).join(" "),
        repositories.join("\n"),
        images.join("\n"),
        compact(PULL),
    )
}

/// The script without comments, blank lines and indentation, which would take a third of SSM's
/// 64 KB.
fn compact(script: &str) -> String {
    let lines = script.lines().map(str::trim_start);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

/// Seconds from the start of the script until the builder shuts itself down, which EC2 treats as
/// its termination. By then the images are pulled and the volume is snapshotted, or never will be.
fn expiry_seconds(limits: &TimeLimits) -> u32 {
    limits.pull_seconds.saturating_add(limits.snapshot_seconds).saturating_add(EXPIRY_GRACE_SECONDS)
}

/// The indexes of the images in the order in which they are started. Each comes after the image
/// that it waits for; otherwise the largest come first, so that the last ones are short. An image
/// of unknown size may be the largest, so it counts as such.
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

/// Reads the script in the admin container and runs it. It keeps `$1`. The script gets an empty
/// standard input and a log in memory: without a terminal `apiclient` mixes standard output and
/// error.
const READER: &str =
    r#"IFS= read -r -d \` script || exit 1; exec 2>/run/frontload.log </dev/null; eval "$script""#;

/// The command that SSM's `AWS-RunShellScript` runs in the control container. `$0` is the path of
/// the agent's copy of it; the path contains the command id. When the script fails, a second
/// command prints the end of its log. That command sleeps for a moment, or its output may be lost.
/// The shell may keep a here-document in a file, so `TMPDIR` is in memory and not on the data
/// volume.
#[must_use]
pub fn ssm_command(build: &Build) -> String {
    format!(
        "export TMPDIR=/run\napiclient exec admin bash -c '{READER}' frontload \"$0\" <<'{END}'\n{}\n`\n{END}\n\
         status=$?\n\
         [ $status -eq 0 ] || \
         apiclient exec admin bash -c 'tail -c 4000 /run/frontload.log; sleep 0.3' >&2\n\
         exit $status\n",
        render(build)
    )
}

/// The delimiter of the here-document; no line of a script can equal it.
const END: &str = "frontload-end";

/// `repository region` of every repository, once; the region is ECR's, or `-`.
fn repositories(images: &[PlannedImage]) -> Vec<String> {
    let mut lines = Vec::new();
    for image in images {
        let line = repository_line(&image.reference);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

fn repository_line(reference: &ImageReference) -> String {
    let ecr = reference.ecr_registry();
    let region = ecr.as_ref().map_or("-", |ecr| ecr.region.as_str());
    format!("{}/{} {region}", reference.registry(), reference.repository())
}

/// `repository tag digest waits shared manifest`, with `-` for a missing value. The repository is
/// its index in `repositories`; a digest is only its digits. `waits` is the index of the image that
/// unpacks the layers that this one shares with it, or `alone` if the layers are unknown. `shared`
/// is the topmost of the shared layers.
fn image_line(image: &PlannedImage, repositories: &[String]) -> String {
    let reference = &image.reference;
    let repository = repository_line(reference);
    let index = repositories.iter().position(|line| *line == repository).unwrap_or_default();
    let digest = image.digest.as_ref().or(reference.digest());
    let waits = match (image.waits_for, image.compressed_bytes) {
        (Some(index), _) => index.to_string(),
        (None, Some(_)) => "-".to_owned(),
        (None, None) => "alone".to_owned(),
    };
    format!(
        "{index} {} {} {waits} {} {}",
        reference.tag().unwrap_or("-"),
        digits_or_dash(digest),
        digits_or_dash(image.shared_layer.as_ref()),
        digits_or_dash(image.manifest.as_ref()),
    )
}

fn digits_or_dash(digest: Option<&Digest>) -> &str {
    digest.map_or("-", Digest::digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontload_domain::testing::sample;

    fn line_of(image: &PlannedImage) -> String {
        image_line(image, &repositories(std::slice::from_ref(image)))
    }

    #[test]
    fn an_image_becomes_one_line_of_six_words_and_its_repository_another() {
        let build = sample();
        let digits = "a".repeat(64);
        assert_eq!(line_of(&build.images[0]), format!("0 v1 {digits} - - -"));
        assert_eq!(
            repositories(&build.images),
            ["123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app us-east-1"]
        );
        let public = PlannedImage {
            reference: "public.ecr.aws/nginx/nginx:1.27".parse().unwrap(),
            digest: None,
            compressed_bytes: None,
            manifest: None,
            waits_for: None,
            shared_layer: None,
        };
        assert_eq!(line_of(&public), "0 1.27 - alone - -");
        let images = [build.images[0].clone(), public.clone(), public.clone()];
        assert_eq!(repositories(&images).len(), 2);
        assert_eq!(repositories(&images)[1], "public.ecr.aws/nginx/nginx -");
        assert_eq!(image_line(&public, &repositories(&images)), "1 1.27 - alone - -");
        let layer = "b".repeat(64);
        let waiting = PlannedImage {
            waits_for: Some(3),
            shared_layer: Some(format!("sha256:{layer}").parse().unwrap()),
            manifest: Some(format!("sha256:{digits}").parse().unwrap()),
            ..build.images[0].clone()
        };
        assert!(line_of(&waiting).ends_with(&format!(" 3 {layer} {digits}")));
    }

    #[test]
    fn large_images_start_first_but_after_the_images_they_wait_for() {
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
    fn the_script_uses_the_index_names_and_ends_before_ssm_does() {
        let script = render(&sample());
        assert!(
            script.starts_with("architecture=amd64\nsnapshotter=overlayfs\nlimit_seconds=3590\n")
        );
    }

    #[test]
    fn a_builder_outlives_pull_and_snapshot_and_then_shuts_itself_down() {
        let limits = &sample().time_limits;
        let least = limits.pull_seconds + limits.snapshot_seconds;
        assert!((least..least + 3600).contains(&expiry_seconds(limits)));
        assert!(render(&sample()).contains("\nexpiry_seconds=11700\n"));
        let place = |text: &str| PULL.find(text).unwrap_or_else(|| panic!("{text:?} is missing"));
        assert!(place("\nset_expiry \"${1-}\"\n") < place("\nmask_kubelet\n"));
    }

    /// The arguments of the container's shell; everything else goes through standard input.
    fn arguments(command: &str) -> &str {
        command.split_once(" <<'frontload-end'\n").unwrap().0
    }

    #[test]
    fn no_shell_expands_the_ssm_command() {
        let command = ssm_command(&sample());
        let (_, rest) = command.split_once(" <<'frontload-end'\n").unwrap();
        let (input, _) = rest.split_once("\nfrontload-end\n").unwrap();
        // No shell expands a quoted here-document; the backtick ends the script.
        assert_eq!(input, format!("{}\n`", render(&sample())));
        assert!(!render(&sample()).contains('`'));
        assert!(!arguments(&command).contains(&sample().images[0].reference.to_string()));
    }

    /// The largest plan that a cache document allows: a hundred images with the longest tag, in
    /// repositories whose names together fill the document's 8 KB.
    fn largest() -> Build {
        let longest = |number: usize| {
            let digest = |character: &str| format!("sha256:{}", character.repeat(64));
            let (path, tag) = ("r".repeat(60 - number % 10), "t".repeat(125));
            PlannedImage {
                reference: format!("ghcr.io/{number:03}{path}:{tag}{number:03}").parse().unwrap(),
                digest: Some(digest("d").parse().unwrap()),
                compressed_bytes: Some(1),
                manifest: Some(digest("e").parse().unwrap()),
                waits_for: Some(99),
                shared_layer: Some(digest("f").parse().unwrap()),
            }
        };
        let images: Vec<PlannedImage> = (0..100).map(longest).collect();
        assert!(repositories(&images).concat().len() > 6_000);
        Build { images, ..sample() }
    }

    /// SSM: a command and its document may have 64 KB (`MaxDocumentSizeExceeded`).
    #[test]
    fn the_command_of_a_hundred_images_is_below_the_limit_of_ssm() {
        let parameters = serde_json::json!({
            "commands": [ssm_command(&largest())], "executionTimeout": ["86400"],
        });
        let bytes = parameters.to_string().len();
        assert!(bytes < 64_000, "{bytes}");
    }

    /// apiclient: a command's JSON form may have 65,536 bytes, four for each byte.
    #[test]
    fn apiclients_arguments_do_not_grow_with_the_images() {
        let (one, hundred) = (ssm_command(&sample()), ssm_command(&largest()));
        assert_eq!(arguments(&one), arguments(&hundred));
        assert!(arguments(&one).len() < 500, "{}", arguments(&one).len());
    }

    #[test]
    fn the_script_travels_without_comments_and_indentation() {
        assert_eq!(compact("# a\n\n  b() {\n    # c\n    d # e\n  }\n"), "b() {\nd # e\n}");
    }

    #[test]
    fn the_script_flushes_after_the_last_write_and_before_it_reports() {
        let place = |text: &str| PULL.rfind(text).unwrap_or_else(|| panic!("{text:?} is missing"));
        assert!(place("\nscrub ") < place("\nflush\n"));
        assert!(place("\nflush\n") < place("flushed: true"));
    }
}
