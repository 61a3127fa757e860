//! The builder's user data: Bottlerocket settings in TOML.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The settings of every builder.
///
/// - The admin container gives access to the host. It is off by default.
/// - Standalone: the builder joins no cluster.
/// - The host name is set because its generator otherwise calls
///   `ec2:DescribeInstances` before host containers start and delays the boot
///   by 300 s when that fails (Kubernetes 1.26 and later).
/// - `max-concurrent-unpacks` is not set. If the layers of one image were unpacked in parallel, a
///   directory without an entry in a layer would get a different mode and owner than on a node
///   (containerd, `core/unpack/unpacker.go`).
/// - `max-concurrent-downloads` is for all pulls together. containerd's default of 3 leaves the
///   network idle. The setting applies to `ctr images pull` with containerd 2.1 and
///   later (bottlerocket-core-kit, `containerd-config-toml`).
const SETTINGS: &str = r#"[settings.host-containers.admin]
enabled = true

[settings.kubernetes]
standalone-mode = true
hostname-override = "frontload-builder"

[settings.container-runtime]
max-concurrent-downloads = 20
"#;

/// The user data in base64, as `RunInstances` expects it.
#[must_use]
pub fn encoded() -> String {
    STANDARD.encode(SETTINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_unpacked_in_sequence_as_on_a_node() {
        assert!(!SETTINGS.contains("max-concurrent-unpacks"));
    }
}
