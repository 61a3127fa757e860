//! Processor architectures, which have one name in EC2 and Bottlerocket and
//! another in image indexes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::quoted;

/// An architecture that Bottlerocket is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars_derive::JsonSchema))]
pub enum Architecture {
    /// 64-bit Intel and AMD.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm, AWS Graviton.
    #[serde(rename = "arm64")]
    Arm64,
}

impl Architecture {
    /// The name that EC2 and Bottlerocket's public parameters use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name in OCI image indexes (`GOARCH`).
    #[must_use]
    pub fn oci(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::X86_64, Self::Arm64];
        let found = known.into_iter().find(|architecture| architecture.as_str() == text);
        found.ok_or_else(|| format!("{} is neither x86_64 nor arm64", quoted(text)))
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
