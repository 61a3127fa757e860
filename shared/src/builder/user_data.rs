//! The builder's user data: Bottlerocket settings in TOML.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::OsImage;

/// The settings of every builder.
///
/// - The admin container is off by default and is the way to the host.
/// - Standalone: the builder joins no cluster.
/// - The host name is set because its generator otherwise calls
///   `ec2:DescribeInstances` before host containers start and holds the boot
///   for 300 s when that fails (Kubernetes 1.26 and later).
/// - Layers downloaded at once, by all pulls together: containerd's 3 leave the
///   network idle. The setting reaches `ctr images pull` with containerd 2.1 and
///   later (bottlerocket-core-kit, `containerd-config-toml`).
const SETTINGS: &str = r#"[settings.host-containers.admin]
enabled = true

[settings.kubernetes]
standalone-mode = true
hostname-override = "frontload-builder"

[settings.container-runtime]
max-concurrent-downloads = 20
"#;

/// Layers of one image unpacked at once, with containerd 2.2 and later.
const UNPACKS: &str = "max-concurrent-unpacks = 4\n";

/// The first Bottlerocket that knows the setting (settings-models 0.23.0). An older
/// one refuses all user data with it, and does not boot.
const KNOWS_UNPACKS: [u32; 3] = [1, 60, 0];

/// The settings for a release of Bottlerocket.
#[must_use]
pub fn settings(os: &OsImage) -> String {
    let knows_unpacks = os.version.release().is_some_and(|release| release >= KNOWS_UNPACKS);
    format!("{SETTINGS}{}", if knows_unpacks { UNPACKS } else { "" })
}

/// The user data as `RunInstances` takes it: base64.
#[must_use]
pub fn encoded(os: &OsImage) -> String {
    STANDARD.encode(settings(os))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build::tests::sample;

    #[test]
    fn a_setting_that_an_older_release_would_not_boot_with_is_left_out() {
        let knows = |version: &str| {
            let os = OsImage { version: version.parse().unwrap(), ..sample().os };
            settings(&os).contains("max-concurrent-unpacks")
        };
        assert_eq!(
            ["1.59.9-01234567", "1.60.0-abcdef01", "2.0.0", "1.60", "next"].map(knows),
            [false, true, true, false, false]
        );
    }
}
