//! Runs the builder's script and SSM's command, and shows that no text reaches a shell (S7). The
//! `PATH` contains only recorders, stand-ins and `canary`, a command that runs only if a shell
//! misinterprets a name. First the script's paths that belong to root are replaced by a scratch
//! directory.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use frontload_builder::report::read_report;
use frontload_builder::script::{render, ssm_command};
use frontload_domain::Error;
use frontload_domain::testing::sample;
use frontload_domain::testing::{assert_harmless, nasty};
use frontload_domain::{Ancestor, Architecture, Build, Digest, ImageReference, PlannedImage};

use super::input::config;

/// Commands that the script may call and that change nothing. Calls are recorded, then run.
const TOOLS: [&str; 20] = [
    "awk",
    "base64",
    "cat",
    "cut",
    "flock",
    "grep",
    "jq",
    "ls",
    "mkfifo",
    "mktemp",
    "nproc",
    "sed",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "timeout",
    "tr",
    "uname",
];

/// Further commands that the script may call: name and stand-in. Calls are recorded.
const STAND_INS: [(&str, &str); 5] = [
    ("sheltie", include_str!("sheltie.sh")),
    ("rm", ""),
    ("mv", ""),
    ("mkdir", ""),
    // One response to all requests: session token, role, credentials, ECR's token.
    (
        "curl",
        "if [[ $1 == --config ]]; then while read -r _; do :; done; fi\n\
         echo '{\"authorizationData\": [{\"authorizationToken\": \"QVdTOnNlY3JldA==\"}]}'",
    ),
];

/// A directory whose `bin` is the script's whole `PATH`; deleted when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn find_tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: install it"))
}

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("frontload-hostile-{}-{number}", std::process::id());
        let scratch = Self(std::env::temp_dir().join(name));
        for folder in ["bin", "calls", "tmp", "host/local", "host/var/lib/containerd"] {
            fs::create_dir_all(scratch.0.join(folder)).unwrap();
        }
        scratch.put("canary", ">\"$scratch/sung\"");
        scratch
    }

    /// Adds a command that records its arguments, each ended by NUL, and runs `body`.
    fn put(&self, name: &str, body: &str) {
        let record = format!("printf '%s\\0' \"$@\" >\"$scratch/calls/{name}.$$.$EPOCHREALTIME\"");
        let path = self.0.join("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\n{record}\n{body}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn put_tool(&self, name: &str) {
        self.put(name, &format!("exec {} \"$@\"", find_tool(name).display()));
    }

    /// Runs a shell with only this environment, for at most a minute.
    fn run(&self, shell: &str, arguments: &[&Path], variables: &[(&str, &str)]) -> Output {
        Command::new(find_tool("timeout"))
            .args(["--kill-after=5", "60", shell])
            .args(arguments)
            .env_clear()
            .env("PATH", self.0.join("bin"))
            .env("TMPDIR", self.0.join("tmp"))
            .env("scratch", &self.0)
            // bash calls this function for a command that is not in the PATH.
            .env(
                "BASH_FUNC_command_not_found_handle%%",
                "() { echo \"$1\" >>\"$scratch/unknown\"; }",
            )
            .envs(variables.iter().copied())
            .current_dir(self.0.join("tmp"))
            .output()
            .unwrap()
    }

    /// The arguments of every call of a command.
    fn calls(&self, name: &str) -> Vec<Vec<String>> {
        let files = fs::read_dir(self.0.join("calls")).unwrap().map(|entry| entry.unwrap());
        let own = format!("{name}.");
        let files = files.filter(|f| f.file_name().to_str().unwrap().starts_with(&own));
        let arguments = |text: String| text.split_terminator('\0').map(str::to_owned).collect();
        files.map(|file| arguments(fs::read_to_string(file.path()).unwrap())).collect()
    }

    /// Fails when a command ran that is not part of the script.
    fn assert_nothing_else_ran(&self) {
        assert!(!self.0.join("sung").exists(), "the canary ran: {:?}", self.calls("canary"));
        let unknown = fs::read_to_string(self.0.join("unknown")).unwrap_or_default();
        assert_eq!(unknown, "", "commands that are none");
    }
}

/// Writes the script with root's paths replaced by the scratch directory. Returns its path.
fn rendered(build: &Build, scratch: &Scratch) -> PathBuf {
    let mut script = render(build);
    for (owned, own) in [
        ("/run/frontload.lock", "lock"),
        ("TMPDIR=/run\n", "tmp"),
        ("/.bottlerocket/rootfs", "host"),
    ] {
        assert_eq!(script.matches(owned).count(), 1, "{owned}");
        let own = scratch.0.join(own).to_str().unwrap().to_owned();
        let own = if owned.starts_with("TMPDIR") { format!("TMPDIR={own}\n") } else { own };
        script = script.replace(owned, &own);
    }
    let path = scratch.0.join("script");
    fs::write(&path, script).unwrap();
    path
}

const HOSTS: [&str; 4] = [
    "123456789012.dkr.ecr.us-east-1.amazonaws.com",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
    "canary.canary:80",
    "localhost",
];

fn digest(character: &str) -> Digest {
    format!("sha256:{}", character.repeat(64)).parse().unwrap()
}

/// References made of words that are commands. Some contain a nasty text, which only a parser that
/// is too lenient accepts.
fn reference() -> impl Strategy<Value = ImageReference> {
    let repository = prop_oneof![
        4 => "canary(/canary|-canary|__canary|\\.canary|---canary){0,3}",
        1 => (150..200_usize).prop_map(|length| "c".repeat(length)),
    ];
    let tag = prop_oneof![
        4 => "canary[-._a-zA-Z0-9]{0,9}",
        1 => (120..=128_usize).prop_map(|length| "C".repeat(length)),
        1 => select(vec!["_", "0", "true", "HEAD", "REF"]).prop_map(str::to_owned),
    ];
    let digested = prop_oneof![3 => Just(""), 1 => Just("@")];
    let nasty = option::weighted(0.3, (any::<Index>(), select(nasty())));
    (select(HOSTS.to_vec()), repository, tag, digested, nasty).prop_filter_map(
        "a reference",
        |(host, repository, tag, digested, nasty)| {
            let digest =
                if digested.is_empty() { String::new() } else { format!("@{}", digest("d")) };
            let mut text = format!("{host}/{repository}:{tag}{digest}");
            if let Some((at, nasty)) = nasty {
                text.insert_str(at.index(text.len() + 1), &nasty);
            }
            text.parse().ok()
        },
    )
}

fn images() -> impl Strategy<Value = Vec<PlannedImage>> {
    let digest = || option::of(select(vec!["a", "b"]).prop_map(digest));
    let bytes = option::of(any::<u64>());
    let image = (reference(), digest(), bytes, digest(), option::of(any::<Index>()), digest());
    vec(image, 1..4).prop_map(|all| {
        let mut images: Vec<PlannedImage> = Vec::new();
        for (reference, digest, compressed_bytes, manifest, waits_for, shared_layer) in all {
            if images.iter().any(|image| image.reference == reference) {
                continue;
            }
            let digest = reference.digest().cloned().or(digest);
            let waits_for = waits_for.filter(|_| !images.is_empty());
            let waits_for = waits_for.map(|index| index.index(images.len()));
            images.push(PlannedImage {
                reference,
                digest,
                compressed_bytes,
                manifest,
                waits_for,
                shared_layer,
            });
        }
        images
    })
}

/// Builds as the Plan step could make them.
fn builds() -> impl Strategy<Value = Build> {
    let architecture = select(vec![Architecture::X86_64, Architecture::Arm64]);
    let limit = select(vec![60_u32, 86_400]);
    (images(), architecture, limit, any::<bool>()).prop_map(
        |(images, architecture, pull_seconds, has_ancestor)| {
            let mut build = Build { architecture, images, ..sample() };
            build.time_limits.pull_seconds = pull_seconds;
            build.ancestor = has_ancestor.then(|| Ancestor {
                snapshot_id: "snap-1".parse().unwrap(),
                listing: digest("e").to_string().parse().unwrap(),
                links: 1,
            });
            build
        },
    )
}

/// Every name that the script may pass to containerd.
fn names(build: &Build) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for image in &build.images {
        names.extend(image.reference.at_tag());
        let pulled_by_tag = digest("c");
        let digests = [image.digest.as_ref(), image.manifest.as_ref(), Some(&pulled_by_tag)];
        names.extend(digests.into_iter().flatten().map(|d| image.reference.at_digest(d)));
    }
    names
}

/// The names that `ctr` got to pull, tag, label and remove: whole arguments.
fn named(calls: &[Vec<String>]) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    // Each call has a time limit: `timeout` and its three arguments come first.
    let calls = calls.iter().map(|call| &call[4..]);
    for call in calls.filter(|call| call[0] == "ctr") {
        match [call[5].as_str(), call[6].as_str()] {
            ["images", "pull"] => named.extend(call.last().cloned()),
            ["images", "tag"] => named.extend(call[8..].iter().cloned()),
            ["images", "label"] => named.extend(call.get(7).cloned()),
            ["images", "rm"] => named.extend(call[7..].iter().cloned()),
            ["images", "ls" | "check"] | ["leases", "create" | "ls" | "rm"] | ["snapshots", _] => {}
            other => panic!("ctr {other:?}"),
        }
    }
    named
}

/// A scratch directory with every command that the script calls.
fn builder() -> Scratch {
    let scratch = Scratch::new();
    for name in TOOLS {
        scratch.put_tool(name);
    }
    for (name, body) in STAND_INS {
        scratch.put(name, body);
    }
    scratch
}

fn check_run(build: &Build, containerd: &str) {
    let scratch = builder();
    // The digests are made up and match no blob, so `sha256sum --check` always succeeds.
    let sums = format!(
        "if [[ $1 == --check ]]; then while read -r _; do :; done; exit 0; fi\nexec {} \"$@\"",
        find_tool("sha256sum").display()
    );
    scratch.put("sha256sum", &sums);
    fs::create_dir_all(blobs(&scratch)).unwrap();
    for character in ["a", "b", "c", "d"] {
        fs::write(blob_file(&scratch, &digest(character)), "{}").unwrap();
    }
    let script = rendered(build, &scratch);
    let parsed = scratch.run("/bin/bash", &[Path::new("-n"), &script], &[]);
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    let output = scratch.run("/bin/bash", &[&script], &[("containerd", containerd)]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    scratch.assert_nothing_else_ran();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.trim_end().lines().count(), 1, "{stdout}");
    read_report(build, &stdout).unwrap();
    let (given, expected) = (named(&scratch.calls("sheltie")), names(build));
    assert!(given.is_subset(&expected), "{given:?} is not of {expected:?}");
    let mut tagged = build.images.iter().filter_map(|image| image.reference.at_tag());
    assert!(tagged.all(|name| given.contains(&name)));
}

/// Checks that the assignments before the script contain only characters of their types.
fn check_assignments(build: &Build) {
    let script = render(build);
    let head = script.split_once("\nset -uo pipefail\n").unwrap().0;
    let (head, images) = head.split_once("\nimages='").unwrap();
    let (simple, repositories) = head.split_once("\nrepository_list='").unwrap();
    for line in simple.lines() {
        line.replace("order='", "").trim_end_matches('\'').split(' ').for_each(assert_harmless);
    }
    let images = images.strip_suffix('\'').unwrap();
    assert_eq!(images.lines().count(), build.images.len());
    for (list, words) in [(images, 6), (repositories.strip_suffix('\'').unwrap(), 2)] {
        for line in list.lines() {
            assert_eq!(line.split(' ').count(), words, "{line}");
            line.split(' ').for_each(assert_harmless);
        }
    }
}

/// Runs a script with a tag that no parser accepts. Returns whether the canary ran, and the unknown
/// commands.
fn run_with_tag(tag: &str) -> (bool, String) {
    let scratch = builder();
    let script = rendered(&sample(), &scratch);
    let text = fs::read_to_string(&script).unwrap();
    assert_eq!(text.matches("images='0 v1 ").count(), 1);
    fs::write(&script, text.replace("images='0 v1 ", &format!("images='0 {tag} "))).unwrap();
    scratch.run("/bin/bash", &[&script], &[("containerd", "2.1.9")]);
    let unknown = fs::read_to_string(scratch.0.join("unknown")).unwrap_or_default();
    (scratch.0.join("sung").exists(), unknown)
}

#[test]
fn a_tag_that_ends_the_quotation_is_detected() {
    assert_eq!(run_with_tag("v1"), (false, String::new()));
    assert_eq!(run_with_tag("v1'; canary; : '"), (true, String::new()));
    assert_eq!(run_with_tag("v1'$(canary)'"), (true, String::new()));
    assert_eq!(run_with_tag("v1'; warble; : '"), (false, "warble\n".to_owned()));
}

/// Checks that SSM's copy of the command, at a nasty path, passes the script to the container.
fn check_ssm_command(build: &Build) {
    let scratch = Scratch::new();
    // Reads the script as the admin container does, but stores it and does not run it.
    let keep = r#"eval "${5%%; exec 2>*}"
        printf %s "$script" >"$scratch/given"; printf %s "$7" >"$scratch/path"
        exit 0"#;
    scratch.put("apiclient", keep);
    let folder = scratch.0.join("orchestration/$(canary) `canary`; canary '\" *");
    fs::create_dir_all(&folder).unwrap();
    let script = folder.join("_script.sh");
    fs::write(&script, ssm_command(build)).unwrap();
    assert!(scratch.run("/bin/sh", &[Path::new("-n"), &script], &[]).status.success());
    let output = scratch.run("/bin/sh", &[&script], &[]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    scratch.assert_nothing_else_ran();
    assert_eq!(fs::read_to_string(scratch.0.join("given")).unwrap(), render(build) + "\n");
    let path = fs::read_to_string(scratch.0.join("path")).unwrap();
    assert_eq!(path, script.to_str().unwrap());
    assert!(scratch.calls("apiclient").concat().iter().all(|argument| argument.len() < 500));
}

/// The content store of the builder.
fn blobs(scratch: &Scratch) -> PathBuf {
    scratch.0.join("host/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256")
}

fn blob_file(scratch: &Scratch, digest: &Digest) -> PathBuf {
    blobs(scratch).join(digest.to_string().trim_start_matches("sha256:"))
}

/// Writes a blob. Returns its descriptor, as it appears in an index or a manifest.
fn put_blob(scratch: &Scratch, content: &str) -> Value {
    let digest = Digest::of(content.as_bytes());
    fs::create_dir_all(blobs(scratch)).unwrap();
    fs::write(blob_file(scratch, &digest), content).unwrap();
    json!({"digest": digest, "size": content.len()})
}

/// Writes an image: an index, a manifest, a configuration and a layer, and `others` as further
/// layers. Returns the digests of the first four in that order.
fn put_image(scratch: &Scratch, others: &[Value]) -> [Digest; 4] {
    let config = put_blob(scratch, "{}");
    let layer = put_blob(scratch, "the content of a layer");
    let layers = [std::slice::from_ref(&layer), others].concat();
    let manifest =
        put_blob(scratch, &json!({"config": config.clone(), "layers": layers}).to_string());
    let foreign = json!({"digest": digest("f"), "size": 1});
    let index = put_blob(scratch, &json!({"manifests": [foreign, manifest.clone()]}).to_string());
    [index, manifest, config, layer].map(|d| d["digest"].as_str().unwrap().parse().unwrap())
}

/// The script's result for a build of the image.
fn run_with_image(scratch: &Scratch, index: &Digest) -> Result<(), Error> {
    let mut build = sample();
    build.images[0].digest = Some(index.clone());
    let script = rendered(&build, scratch);
    let output = scratch.run("/bin/bash", &[&script], &[("containerd", "2.1.9")]);
    scratch.assert_nothing_else_ran();
    read_report(&build, &String::from_utf8(output.stdout).unwrap()).map(|_| ())
}

/// The error for an image after its blob number `which` lost its last `bytes` bytes.
fn run_cut_short(which: usize, bytes: u64) -> String {
    let scratch = builder();
    let digests = put_image(&scratch, &[]);
    let path = blob_file(&scratch, &digests[which]);
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
    let error = run_with_image(&scratch, &digests[0]).unwrap_err();
    assert_eq!(error.name(), "ImageIncomplete", "{error}");
    let text = error.to_string();
    assert!(text.contains("team/app:v1"), "{text}");
    text
}

#[test]
fn a_truncated_blob_is_detected() {
    assert!(run_cut_short(3, 1).contains("has 21 bytes and should have 22"));
    assert!(run_cut_short(3, 22).contains("has 0 bytes and should have 22"));
    assert!(run_cut_short(2, 1).contains("has 1 bytes and should have 2"));
    assert!(run_cut_short(1, 1).contains("bytes and should have"));
    assert!(run_cut_short(0, 1).contains("is not what its digest says"));
}

#[test]
fn an_invalid_manifest_is_reported_with_its_possible_images() {
    let scratch = builder();
    let digests = put_image(&scratch, &[]);
    let path = blob_file(&scratch, &digests[1]);
    fs::write(&path, "x".repeat(fs::read(&path).unwrap().len())).unwrap();
    let error = run_with_image(&scratch, &digests[0]).unwrap_err();
    assert_eq!(error.name(), "ImageIncomplete", "{error}");
    let text = error.to_string();
    assert!(text.contains("team/app:v1") && text.contains("cannot be read"), "{text}");
}

#[test]
fn an_image_with_one_of_its_platforms_is_complete() {
    let scratch = builder();
    let [index, ..] = put_image(&scratch, &[]);
    run_with_image(&scratch, &index).unwrap();
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn a_manifest_on_the_volume_starts_nothing(texts in vec(select(nasty()), 1..20)) {
        let scratch = builder();
        let named = texts.iter().map(|text| json!({"digest": text, "size": text}));
        let [index, ..] = put_image(&scratch, &named.collect::<Vec<_>>());
        run_with_image(&scratch, &index).unwrap();
    }

    #[test]
    fn a_running_script_executes_no_hostile_name(
        build in builds(), containerd in select(vec!["1.6.20", "2.1.9+bottlerocket"]),
    ) {
        check_run(&build, containerd);
    }

    #[test]
    fn the_running_ssm_command_passes_the_script_unchanged(build in builds()) {
        check_ssm_command(&build);
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn no_assignment_in_a_script_contains_shell_syntax(build in builds()) {
        check_assignments(&build);
    }
}
