//! Fake EBS snapshots of one region, completed from the start.

use std::collections::BTreeMap;

/// Tags by snapshot id.
#[derive(Clone, Debug, Default)]
pub struct Snapshots(BTreeMap<String, BTreeMap<String, String>>);

impl Snapshots {
    /// Adds a completed snapshot with tags.
    pub fn complete(&mut self, id: &str, tags: BTreeMap<String, String>) {
        self.0.insert(id.to_owned(), tags);
    }

    /// Every existing snapshot, with its tags.
    pub fn all(&self) -> impl Iterator<Item = (&String, &BTreeMap<String, String>)> {
        self.0.iter()
    }

    /// The tags of a snapshot; `None` if it does not exist.
    pub fn tags(&self, id: &str) -> Option<&BTreeMap<String, String>> {
        self.0.get(id)
    }

    /// The content of the XML response to an EC2 action; empty for actions on other resources.
    pub fn answer(&mut self, action: &str, fields: &BTreeMap<&str, &str>) -> String {
        let id = ["SnapshotId", "SnapshotId.1"].iter().find_map(|name| fields.get(name));
        match (action, id) {
            ("DeleteSnapshot", Some(id)) => {
                self.0.remove(*id);
                String::new()
            }
            ("CreateTags", _) => {
                let field = |name: &str| fields[name].replace("%3A", ":");
                if let Some(tags) = self.0.get_mut(&field("ResourceId.1")) {
                    tags.insert(field("Tag.1.Key"), field("Tag.1.Value"));
                }
                String::new()
            }
            ("DescribeSnapshots", id) => {
                let is_meant = |(found, tags): &(&String, &BTreeMap<String, String>)| {
                    id.is_none_or(|id| id == found) && carries(tags, fields)
                };
                let items: String = self.0.iter().filter(is_meant).map(shown).collect();
                format!("<snapshotSet>{items}</snapshotSet>")
            }
            _ => String::new(),
        }
    }
}

/// Whether the tags match every tag filter; other filters are not supported.
fn carries(tags: &BTreeMap<String, String>, fields: &BTreeMap<&str, &str>) -> bool {
    (1..).map_while(|n| fields.get(format!("Filter.{n}.Name").as_str()).zip(Some(n))).all(
        |(name, n)| {
            let name = name.replace("%3A", ":");
            let key = name.strip_prefix("tag:").unwrap();
            let wanted = fields[format!("Filter.{n}.Value.1").as_str()];
            tags.get(key).is_some_and(|value| value == wanted)
        },
    )
}

fn shown((id, tags): (&String, &BTreeMap<String, String>)) -> String {
    let tag = |(key, value): (&String, &String)| {
        format!("<item><key>{key}</key><value>{value}</value></item>")
    };
    let tags: String = tags.iter().map(tag).collect();
    format!(
        "<item><snapshotId>{id}</snapshotId><status>completed</status>\
         <tagSet>{tags}</tagSet></item>"
    )
}
