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
const SETTINGS: &str = r#"[settings.host-containers.admin]
enabled = true

[settings.kubernetes]
standalone-mode = true
hostname-override = "frontload-builder"
"#;

/// The user data as `RunInstances` takes it: base64.
#[must_use]
pub fn encoded() -> String {
    STANDARD.encode(SETTINGS)
}
