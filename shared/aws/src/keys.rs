//! Encryption keys: which key EBS would use, and who may use a key.

use aws_sdk_kms::types::KeyManagerType;
use serde_json::Value;

use super::call_error;
use frontload_domain::AccountId;
use frontload_domain::{Error, Result};

/// A key as KMS describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its ARN.
    pub arn: String,
    /// Whether it can be used now.
    pub enabled: bool,
    /// Whether we can change its policy. We cannot change the policy of `aws/ebs`, so
    /// nothing encrypted under it can be shared.
    pub customer_managed: bool,
}

/// A key by id, ARN or alias, or `None` when there is none.
///
/// # Errors
/// Those of [`call_error`].
pub async fn describe(kms: &aws_sdk_kms::Client, key: &str) -> Result<Option<Key>> {
    match kms.describe_key().key_id(key).send().await {
        Ok(output) => Ok(output.key_metadata().map(|found| Key {
            arn: found.arn().unwrap_or_default().to_owned(),
            enabled: found.enabled(),
            customer_managed: found.key_manager() == Some(&KeyManagerType::Customer),
        })),
        Err(error)
            if error.as_service_error().is_some_and(
                aws_sdk_kms::operation::describe_key::DescribeKeyError::is_not_found_exception,
            ) =>
        {
            Ok(None)
        }
        Err(error) => {
            let region = kms.config().region();
            Err(call_error("kms:DescribeKey", format!("key {key}"), region, &error))
        }
    }
}

/// The key that EBS uses for new volumes and copies when the call gives none; `None`
/// when the account leaves them unencrypted.
///
/// # Errors
/// Those of [`call_error`].
pub async fn default_key(ec2: &aws_sdk_ec2::Client) -> Result<Option<String>> {
    let region = ec2.config().region();
    let by_default = ec2.get_ebs_encryption_by_default().send().await.map_err(|error| {
        call_error("ec2:GetEbsEncryptionByDefault", "the account", region, &error)
    })?;
    if by_default.ebs_encryption_by_default() != Some(true) {
        return Ok(None);
    }
    encrypting_key(ec2).await.map(Some)
}

/// The key that EBS uses when a call requests encryption but gives no key.
///
/// # Errors
/// Those of [`call_error`].
pub async fn encrypting_key(ec2: &aws_sdk_ec2::Client) -> Result<String> {
    let region = ec2.config().region();
    let key =
        ec2.get_ebs_default_kms_key_id().send().await.map_err(|error| {
            call_error("ec2:GetEbsDefaultKmsKeyId", "the account", region, &error)
        })?;
    Ok(key.kms_key_id().unwrap_or("alias/aws/ebs").to_owned())
}

/// The principal that needs a key.
#[derive(Clone, Copy, Debug)]
pub enum Grantee<'a> {
    /// An account, or any principal of it.
    Account(&'a AccountId),
    /// A service's role, by its ARN. A key policy that delegates to the account's IAM policies does
    /// not help it: AWS owns the role's policy.
    ServiceRole(&'a str),
}

impl Grantee<'_> {
    /// Whether a principal of a policy or grant is this one or includes it.
    fn is(self, principal: &str) -> bool {
        match self {
            Self::Account(account) => {
                principal == "*"
                    || principal == account.as_str()
                    || principal.contains(&format!(":{account}:"))
            }
            Self::ServiceRole(arn) => principal == "*" || principal == arn,
        }
    }
}

/// Actions on a key that creating a volume from a snapshot needs (EBS user guide, "Share an Amazon
/// EBS snapshot").
const NEEDED: [&str; 5] = [
    "kms:DescribeKey",
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:ReEncryptFrom",
    "kms:GenerateDataKeyWithoutPlaintext",
];

/// Whether `who` may create volumes with a key, according to its policy and grants.
///
/// # Errors
/// Those of [`call_error`]; a denied read returns [`Usable::Unknown`] instead.
pub async fn usable_by(kms: &aws_sdk_kms::Client, key: &str, who: Grantee<'_>) -> Result<Usable> {
    let region = kms.config().region();
    let policy = match kms.get_key_policy().key_id(key).policy_name("default").send().await {
        Ok(output) => output.policy().unwrap_or_default().to_owned(),
        Err(error) => {
            let error = call_error("kms:GetKeyPolicy", format!("key {key}"), region, &error);
            return if matches!(error, Error::AwsDenied(_)) {
                Ok(Usable::Unknown)
            } else {
                Err(error)
            };
        }
    };
    let mut missing = match read_policy(&policy, who) {
        PolicyAnswer::Denies => return Ok(Usable::No),
        PolicyAnswer::Lacks(missing) => missing,
    };
    if missing.is_empty() {
        return Ok(Usable::Yes);
    }
    let mut pages = kms.list_grants().key_id(key).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                let error = call_error("kms:ListGrants", format!("key {key}"), region, &error);
                let denied = matches!(error, Error::AwsDenied(_));
                return if denied { Ok(Usable::Unknown) } else { Err(error) };
            }
        };
        let grants = page.grants().iter();
        let theirs = |grantee: &str| who.is(grantee);
        for grant in grants.filter(|grant| grant.grantee_principal().is_some_and(theirs)) {
            let grants = |action: &str| {
                grant.operations().iter().any(|operation| action == format!("kms:{operation}"))
            };
            missing.retain(|action| !grants(action));
        }
    }
    Ok(if missing.is_empty() { Usable::Yes } else { Usable::No })
}

/// Whether a grantee may use a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// The policy or grants allow it.
    Yes,
    /// They do not allow it.
    No,
    /// We have no permission to read them.
    Unknown,
}

/// What a key policy says about a grantee.
#[derive(Debug, PartialEq, Eq)]
enum PolicyAnswer {
    /// A statement denies a needed action, which overrides any permission.
    Denies,
    /// The needed actions that no statement allows.
    Lacks(Vec<&'static str>),
}

/// Reads the statements of a key policy for `who`. Treats the condition of an `Allow` as met and
/// that of a `Deny` as not met: preflight looks for what is plainly missing, KMS decides.
fn read_policy(policy: &str, who: Grantee<'_>) -> PolicyAnswer {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else {
        return PolicyAnswer::Lacks(NEEDED.to_vec());
    };
    let says = |effect: &str, needed: &str| {
        each(&policy["Statement"])
            .filter(|statement| statement["Effect"] == effect && names(statement, who))
            .filter(|statement| effect == "Allow" || statement["Condition"].is_null())
            .flat_map(|statement| each(&statement["Action"]))
            .any(|action| action.as_str().is_some_and(|action| covers(action, needed)))
    };
    if NEEDED.iter().any(|needed| says("Deny", needed)) {
        return PolicyAnswer::Denies;
    }
    PolicyAnswer::Lacks(NEEDED.into_iter().filter(|needed| !says("Allow", needed)).collect())
}

/// The elements of a policy's value, which is one element or a list.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}

fn names(statement: &Value, who: Grantee<'_>) -> bool {
    let principal = &statement["Principal"];
    principal.as_str().is_some_and(|text| who.is(text))
        || each(&principal["AWS"]).filter_map(Value::as_str).any(|text| who.is(text))
}

/// Whether an action pattern covers an action. Policies use `*` at the end only; any
/// other pattern matches literally.
fn covers(pattern: &str, action: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => action.starts_with(start),
        None => pattern == action,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_kms::operation::get_key_policy::GetKeyPolicyOutput;
    use aws_sdk_kms::operation::list_grants::ListGrantsOutput;
    use aws_sdk_kms::types::{GrantListEntry, GrantOperation};
    use aws_smithy_mocks::{mock, mock_client};
    use serde_json::json;

    use super::*;

    fn allows(principal: &Value, actions: &Value) -> bool {
        let statement =
            json!({"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": "*"});
        read(&json!([statement])) == PolicyAnswer::Lacks(Vec::new())
    }

    fn read(statements: &Value) -> PolicyAnswer {
        let policy = json!({"Version": "2012-10-17", "Statement": statements});
        read_policy(&policy.to_string(), Grantee::Account(&"210987654321".parse().unwrap()))
    }

    #[test]
    fn a_policy_that_names_the_account_and_every_action_allows() {
        let root = json!({"AWS": "arn:aws:iam::210987654321:root"});
        let documented = json!([
            "kms:DescribeKey",
            "kms:CreateGrant",
            "kms:Decrypt",
            "kms:ReEncrypt*",
            "kms:GenerateDataKey*"
        ]);
        assert!(allows(&root, &documented));
        assert!(allows(&root, &json!("kms:*")));
        assert!(allows(&json!({"AWS": ["123456789012", "210987654321"]}), &documented));
        assert!(allows(&json!("*"), &documented));
    }

    #[test]
    fn a_policy_for_another_account_or_without_an_action_does_not_allow() {
        let root = json!({"AWS": "arn:aws:iam::210987654321:root"});
        assert!(!allows(&json!({"AWS": "arn:aws:iam::123456789012:root"}), &json!("kms:*")));
        assert!(!allows(&root, &json!(["kms:DescribeKey", "kms:Decrypt"])));
        let account = "210987654321".parse().unwrap();
        assert_ne!(read_policy("{", Grantee::Account(&account)), PolicyAnswer::Lacks(vec![]));
    }

    #[test]
    fn a_service_role_is_allowed_by_its_name_and_not_by_its_account() {
        let role = "arn:aws:iam::210987654321:role/aws-service-role/spot.amazonaws.com/Spot";
        let lacks = |principal: &str| {
            let statement =
                json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*"});
            let policy = json!({"Statement": [statement]}).to_string();
            read_policy(&policy, Grantee::ServiceRole(role)) != PolicyAnswer::Lacks(vec![])
        };
        assert!(lacks("arn:aws:iam::210987654321:root"));
        assert!(lacks(&role.replace("/Spot", "/Other")));
        assert!(!lacks(role));
        assert!(!lacks("*"));
    }

    #[test]
    fn an_unconditional_denial_wins_and_a_conditional_one_may_not_apply() {
        let root = json!({"AWS": "arn:aws:iam::210987654321:root"});
        let give = json!({"Effect": "Allow", "Principal": root, "Action": "kms:*"});
        let mut take = json!({"Effect": "Deny", "Principal": "*", "Action": ["kms:Decrypt"]});
        assert_eq!(read(&json!([give, take])), PolicyAnswer::Denies);
        take["Condition"] = json!({"StringNotEquals": {"kms:CallerAccount": "210987654321"}});
        assert_eq!(read(&json!([give, take])), PolicyAnswer::Lacks(vec![]));
    }

    async fn usable(operations: &[GrantOperation]) -> Usable {
        let policy = mock!(aws_sdk_kms::Client::get_key_policy)
            .then_output(|| GetKeyPolicyOutput::builder().policy("{}").build());
        let grant = GrantListEntry::builder()
            .grantee_principal("arn:aws:iam::210987654321:role/nodes")
            .set_operations(Some(operations.to_vec()))
            .build();
        let grants = mock!(aws_sdk_kms::Client::list_grants)
            .then_output(move || ListGrantsOutput::builder().grants(grant.clone()).build());
        let kms = mock_client!(aws_sdk_kms, [&policy, &grants]);
        let account = "210987654321".parse().unwrap();
        usable_by(&kms, "key", Grantee::Account(&account)).await.unwrap()
    }

    #[tokio::test]
    async fn grants_must_cover_every_operation_that_the_policy_lacks() {
        let all = [
            GrantOperation::DescribeKey,
            GrantOperation::CreateGrant,
            GrantOperation::Decrypt,
            GrantOperation::ReEncryptFrom,
            GrantOperation::GenerateDataKeyWithoutPlaintext,
        ];
        assert_eq!(usable(&all).await, Usable::Yes);
        assert_eq!(usable(&all[..4]).await, Usable::No);
    }
}
