//! The builder's user data: Bottlerocket settings in TOML.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The settings of every builder.
///
/// - The admin container is off by default and is the way to the host.
/// - Standalone: the builder joins no cluster.
/// - The host name is set because its generator otherwise calls
///   `ec2:DescribeInstances` before host containers start and holds the boot
///   for 300 s when that fails (Kubernetes 1.26 and later).
/// - Nothing that unpacks layers of one image side by side (`max-concurrent-unpacks`): a
///   directory that a layer has no entry for would get another mode and owner than on a
///   node (containerd, `core/unpack/unpacker.go`).
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

/// The user data as `RunInstances` takes it: base64.
#[must_use]
pub fn encoded() -> String {
    STANDARD.encode(SETTINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_unpacked_one_upon_the_other_as_on_a_node() {
        assert!(!SETTINGS.contains("max-concurrent-unpacks"));
    }
}
