//! A fake ECR. Every image in its repositories is an index of the same architectures.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The pushed tags, and when they were pushed.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Digest and time of the push, by repository and tag.
    tags: BTreeMap<(String, String), (String, i64)>,
    pushes: i64,
    /// The architectures that the indexes lack, by their OCI names.
    pub lacks: Vec<String>,
}

impl Registry {
    /// Points a tag at `digest`.
    pub fn push(&mut self, repository: &str, tag: &str, digest: &str) {
        self.pushes += 1;
        let key = (repository.to_owned(), tag.to_owned());
        self.tags.insert(key, (digest.to_owned(), self.pushes));
    }

    /// The digest of a tag.
    pub fn digest(&self, repository: &str, tag: &str) -> Option<String> {
        let found = self.tags.get(&(repository.to_owned(), tag.to_owned()));
        found.map(|(digest, _)| digest.clone())
    }

    /// Status and body for an ECR operation; `None` for any other operation.
    pub fn answer(&self, operation: &str, input: &Value) -> Option<(u16, String)> {
        let repository = input["repositoryName"].as_str()?;
        if !self.tags.keys().any(|(known, _)| known == repository) {
            let refusal = json!({"__type": "RepositoryNotFoundException", "message": "planted"});
            return Some((400, refusal.to_string()));
        }
        let answer = match operation {
            "BatchGetImage" => self.get(repository, &input["imageIds"][0]),
            "DescribeImages" => self.describe(repository),
            _ => return None,
        };
        Some((200, answer.to_string()))
    }

    fn get(&self, repository: &str, id: &Value) -> Value {
        let tagged = id["imageTag"].as_str().and_then(|tag| self.digest(repository, tag));
        let wanted = id["imageDigest"].as_str().map(ToOwned::to_owned).or(tagged);
        let Some(digest) = wanted else {
            return json!({"failures": [{"failureCode": "ImageNotFound"}]});
        };
        let child = format!("sha256:{}", "c".repeat(64));
        let manifest = if digest == child {
            let layer = |digit: &str, size| json!({"digest": format!("sha256:{}", digit.repeat(64)), "size": size});
            json!({"layers": [layer("1", 3), layer("2", 4)]})
        } else {
            let here = ["amd64", "arm64"]
                .into_iter()
                .filter(|one| !self.lacks.contains(&(*one).to_owned()));
            let entry = |architecture| json!({"digest": child, "platform": {"os": "linux", "architecture": architecture}});
            json!({"manifests": here.map(entry).collect::<Vec<_>>()})
        };
        let id = json!({"imageDigest": digest});
        json!({"images": [{"imageId": id, "imageManifest": manifest.to_string()}]})
    }

    fn describe(&self, repository: &str) -> Value {
        let mut details: BTreeMap<&str, (i64, Vec<&str>)> = BTreeMap::new();
        for ((of, tag), (digest, pushed)) in &self.tags {
            if of == repository {
                let detail = details.entry(digest).or_default();
                detail.0 = detail.0.max(*pushed);
                detail.1.push(tag);
            }
        }
        let detail = |(digest, (pushed, tags)): (&str, (i64, Vec<&str>))| json!({"imageDigest": digest, "imageTags": tags, "imagePushedAt": pushed});
        json!({"imageDetails": details.into_iter().map(detail).collect::<Vec<_>>()})
    }
}
