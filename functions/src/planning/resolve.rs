//! Resolves a request to a build: reads the cache document, the current content of its images and
//! the OS image, and compares the build with the published one.

use crate::publication::{Published, places};
use frontload_aws::clients::at_once;
use frontload_aws::images;
use frontload_aws::parameters::{self, CURRENT, PREVIOUS};
use frontload_aws::snapshots::find_snapshot;
use frontload_domain::Place;
use frontload_domain::ancestor::{self, InFull};
use frontload_domain::build::OsImage;
use frontload_domain::lease::BuildOptions;
use frontload_domain::manifest::Replica;
use frontload_domain::pulled::{AncestorFate, PulledImages};
use frontload_domain::snapshot::{SnapshotId, State};
use frontload_domain::volume;
use frontload_domain::{
    Ancestor, Architecture, Build, BuildRequest, Cache, CacheName, CachedImage, Durations,
    Manifest, ParameterNames, ParameterPrefix, PlannedImage, RegionSettings, UsualSeconds,
    VolumeSize,
};
use frontload_domain::{Error, Result};
use serde_json::json;

use super::read_cache;
use crate::context::Context;

/// A build, and whether to make it.
#[derive(Debug)]
pub struct Resolved {
    /// Everything that its steps need.
    pub build: Build,
    /// Whether to make it.
    pub decision: Decision,
    /// What is left out of the build, one sentence per item.
    pub warnings: Vec<String>,
}

/// Whether to make a build, with the reason in one line.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// The published build is the same (S9).
    Unchanged(String),
    /// The published build differs, or is not usable.
    Build(String),
}

impl Context {
    /// Reads a cache's document.
    ///
    /// # Errors
    /// [`Error::InvalidCache`] when there is none or it breaks a rule.
    pub async fn read_cache(&self, name: &CacheName) -> Result<Cache> {
        let parameter = self.settings.prefix.cache(name);
        let home = &self.settings.home.region;
        let Some(document) = parameters::get(&self.clients.own_ssm(home), &parameter).await? else {
            let problem = format!("it does not exist in {home}; put the cache document there");
            return Err(Error::InvalidCache { parameter, problem });
        };
        read_cache(&self.settings, name.clone(), &document.value)
    }

    /// Decides everything about a build.
    ///
    /// # Errors
    /// [`Error::InvalidCache`], [`Error::ImageNotFound`], [`Error::PlatformMissing`],
    /// [`Error::OsImageNotFound`], [`Error::OsImageRefused`], and those of the calls.
    pub async fn resolve(&self, request: &BuildRequest, options: BuildOptions) -> Result<Resolved> {
        let cache = self.read_cache(&request.cache).await?;
        let architecture = request.architecture;
        if !cache.architectures.contains(&architecture) {
            return Err(Error::InvalidCache {
                parameter: self.settings.prefix.cache(&request.cache),
                problem: format!("architectures: {architecture} is missing; add it"),
            });
        }
        let home = &self.settings.home;
        let names = ParameterNames::new(&self.settings.prefix, &cache.name, architecture);
        let ssm = self.clients.own_ssm(&home.region);
        let published = Published::read(&ssm, &names).await?.manifest();
        let os = self.choose_os(&cache, architecture, published.as_ref()).await?;
        check_release(&cache.name, &os)?;
        let ecr = self.clients.own_ecr(&home.region);
        let selected = images::select_all(&ecr, &cache.images, architecture).await?;
        let id = request.id.clone();
        let (images, download) = (selected.images, selected.download_bytes);
        let mut build = Build::new(id, &cache, architecture, home, os, images, download);
        let durations = published.as_ref().and_then(|manifest| manifest.durations);
        build.usual_seconds = durations.into();
        check_manifest_fits(&self.settings.prefix, &build)?;
        self.check_volume_size(&build)?;
        let mut decision = if options.force {
            Decision::Build("the request forces a build".to_owned())
        } else {
            self.judge(&build, &names, published.as_ref()).await?
        };
        if let Decision::Build(reason) = &mut decision {
            let basis = self.choose_basis(&mut build, &cache, published.as_ref(), options).await?;
            *reason = format!("{reason}; {basis}");
            // The published manifest may have changed an automatic size.
            self.check_volume_size(&build)?;
            let links = published.as_ref().map_or(0, |published| published.links);
            if build.ancestor.is_some() != (links > 0) {
                // Durations of a full build say nothing about an incremental one, and vice versa.
                let launch = build.usual_seconds.launch;
                build.usual_seconds = UsualSeconds { launch, ..UsualSeconds::default() };
            }
        }
        Ok(Resolved { build, decision, warnings: selected.warnings })
    }

    /// Checks the volume's size. An automatic size needs the images' sizes, which only ECR reports.
    fn check_volume_size(&self, build: &Build) -> Result<()> {
        let unknown = |image: &&PlannedImage| image.compressed_bytes.is_none();
        let problem = match (build.builder.volume_gib, build.images.iter().find(unknown)) {
            (VolumeSize::Auto, Some(image)) => format!(
                "builder.volumeGib: the registry of {} does not report its size: write a number of \
                 GiB instead of auto",
                image.reference
            ),
            _ if build.volume_gib > volume::MAX_GIB => format!(
                "images: they need a volume of {} GiB, but the largest has {}: split the cache",
                build.volume_gib,
                volume::MAX_GIB
            ),
            _ => return Ok(()),
        };
        Err(Error::InvalidCache { parameter: self.settings.prefix.cache(&build.cache), problem })
    }

    /// Bases the build on the published snapshot unless something prevents it. Returns a short
    /// description of the basis.
    async fn choose_basis(
        &self,
        build: &mut Build,
        cache: &Cache,
        published: Option<&Manifest>,
        options: BuildOptions,
    ) -> Result<String> {
        let Some(published) = published else { return Ok("built in full".to_owned()) };
        if let VolumeSize::Auto = build.builder.volume_gib {
            build.volume_gib = volume::size_after(published, changed_bytes(build, published));
        }
        match self.choose_ancestor(build, cache, published, options).await? {
            Ok(ancestor) => {
                let basis = format!("built on snapshot {}", ancestor.snapshot_id);
                build.ancestor = Some(ancestor);
                Ok(basis)
            }
            Err(why) => {
                if let (VolumeSize::Auto, Some(bytes)) =
                    (build.builder.volume_gib, build.download_bytes)
                {
                    build.volume_gib = volume::size_for(bytes, Some(published));
                }
                Ok(format!("built in full, because {why}"))
            }
        }
    }

    async fn choose_ancestor(
        &self,
        build: &Build,
        cache: &Cache,
        published: &Manifest,
        options: BuildOptions,
    ) -> Result<std::result::Result<Ancestor, InFull>> {
        if options.full {
            return Ok(Err("it was requested, or the last incremental build failed".to_owned()));
        }
        if build.volume_gib > volume::MAX_GIB {
            return Ok(Err(format!("a volume of {} GiB is too large", build.volume_gib)));
        }
        let ec2 = self.clients.own_ec2(&build.region);
        let snapshot = find_snapshot(&ec2, &published.snapshot_id).await?;
        Ok(ancestor::choose(build, published, snapshot.as_ref(), cache.incremental))
    }

    /// Returns Bottlerocket's newest image. While the cache does not follow updates, returns the
    /// published one.
    async fn choose_os(
        &self,
        cache: &Cache,
        architecture: Architecture,
        published: Option<&Manifest>,
    ) -> Result<OsImage> {
        let kept = published.map(|manifest| &manifest.os).filter(|os| os.variant == cache.variant);
        match kept {
            Some(kept) if !cache.os_updates.allows(self.now) => Ok(kept.clone()),
            _ => self.find_os_image(cache, architecture).await,
        }
    }

    /// The newest Bottlerocket of the variant, from the public parameters that
    /// Bottlerocket publishes in every region.
    async fn find_os_image(&self, cache: &Cache, architecture: Architecture) -> Result<OsImage> {
        let path = format!("/aws/service/bottlerocket/{}/{architecture}/latest", cache.variant);
        let (image_id, version) = (format!("{path}/image_id"), format!("{path}/image_version"));
        Ok(OsImage {
            variant: cache.variant.clone(),
            image_id: self.read_public(&image_id).await?,
            version: self.read_public(&version).await?,
        })
    }

    async fn read_public<T: TryFrom<String>>(&self, parameter: &str) -> Result<T> {
        let region = &self.settings.home.region;
        let found = parameters::get(&self.clients.own_ssm(region), parameter).await?;
        found.and_then(|found| T::try_from(found.value).ok()).ok_or_else(|| {
            Error::OsImageNotFound { parameter: parameter.to_owned(), region: region.to_string() }
        })
    }

    /// Compares a build with the published one (S9). If a part of the publication is gone, the
    /// build is made again. If the same content was rolled back, it is not built again.
    async fn judge(
        &self,
        build: &Build,
        names: &ParameterNames,
        published: Option<&Manifest>,
    ) -> Result<Decision> {
        let Some(published) = published else {
            return Ok(Decision::Build("nothing usable is published".to_owned()));
        };
        if published.fingerprint != build.fingerprint {
            if published.rollback.is_some() {
                let ssm = self.clients.own_ssm(&build.region);
                let left = Published::read_labelled(&ssm, names, PREVIOUS).await?.manifest();
                if let Some(left) = left.filter(|left| left.fingerprint == build.fingerprint) {
                    return Ok(Decision::Unchanged(format!(
                        "build {} with the same content was rolled back; set force to build it again",
                        left.build
                    )));
                }
            }
            return Ok(Decision::Build(describe_change(build, published)));
        }
        if let Some(damage) = self.find_damage(build, names, published).await? {
            return Ok(Decision::Build(damage));
        }
        Ok(Decision::Unchanged(format!(
            "snapshot {} of build {} holds the same images, OS image and configuration",
            published.snapshot_id, published.build
        )))
    }

    /// Returns what is wrong with a publication: a replica is gone, or a place reads another
    /// publication.
    async fn find_damage(
        &self,
        build: &Build,
        names: &ParameterNames,
        published: &Manifest,
    ) -> Result<Option<String>> {
        let gone = at_once(&published.replicas, async |replica| {
            let ec2 = self.clients.own_ec2(&replica.region);
            let found = find_snapshot(&ec2, &replica.snapshot_id).await?;
            let usable = found.is_some_and(|snapshot| snapshot.state == State::Completed);
            let (id, region) = (&replica.snapshot_id, &replica.region);
            Ok::<_, Error>((!usable).then(|| format!("snapshot {id} in {region} is not usable")))
        });
        let gone: Vec<_> = gone.await.into_iter().collect::<Result<_>>()?;
        if let Some(gone) = gone.into_iter().flatten().next() {
            return Ok(Some(gone));
        }
        let regions: Vec<_> = build.regions.iter().map(|region| region.region.clone()).collect();
        let places = places(&regions, &build.consumers);
        let strays = at_once(&places, |place| self.find_stray(place, names, published)).await;
        let strays: Vec<_> = strays.into_iter().collect::<Result<_>>()?;
        Ok(strays.into_iter().flatten().next())
    }

    /// Returns a message if a place does not read the publication. Errors that no retry heals count
    /// as such. Preflight reports them.
    async fn find_stray(
        &self,
        place: &Place,
        names: &ParameterNames,
        published: &Manifest,
    ) -> Result<Option<String>> {
        let read = async {
            let ssm = self.clients.ssm(place).await?;
            let newest = Published::read(&ssm, names).await?;
            // A publisher may die before it has moved every label.
            let labelled = Published::read_labelled(&ssm, names, CURRENT).await?;
            Ok([newest.manifest(), labelled.manifest()])
        };
        let found = match read.await {
            Ok(found) => found,
            Err(error) if Error::retryable(&error) => return Err(error),
            Err(_) => [None, None],
        };
        let is_same = |found: &Manifest| found.build == published.build;
        let same = found.iter().all(|found| found.as_ref().is_some_and(is_same));
        let (account, region) = (place.account_shown(), &place.region);
        Ok((!same).then(|| format!("{account} in {region} does not read the published build")))
    }
}

/// The first release whose admin container is Amazon Linux 2023. Earlier releases have bash 4.2, on
/// which the builder's script does not run (bottlerocket#4740).
const FIRST_RELEASE: [u32; 3] = [1, 53, 0];

/// Releases that make a bad volume: 1.58.0 cannot unpack images with named pipes
/// (bottlerocket#4798).
const BAD_RELEASES: [[u32; 3]; 1] = [[1, 58, 0]];

/// Refuses a Bottlerocket release that cannot make a good snapshot.
fn check_release(cache: &CacheName, os: &OsImage) -> Result<()> {
    let reason = match os.version.release() {
        None => "it is not a release of the form 1.62.0".to_owned(),
        Some(release) if release < FIRST_RELEASE => {
            "its admin container is too old; let osUpdates follow 1.53.0 or later".to_owned()
        }
        Some(release) if BAD_RELEASES.contains(&release) => {
            "it cannot unpack every image (bottlerocket#4798); let osUpdates follow a later one"
                .to_owned()
        }
        Some(_) => return Ok(()),
    };
    let version = os.version.to_string();
    Err(Error::OsImageRefused { cache: cache.to_string(), version, reason })
}

/// Compressed bytes of the images whose planned content is not published.
fn changed_bytes(build: &Build, published: &Manifest) -> u64 {
    let changed = build.images.iter().filter(|image| !is_published(image, published));
    let bytes = changed.filter_map(|image| image.compressed_bytes);
    bytes.fold(0, u64::saturating_add)
}

fn is_published(image: &PlannedImage, published: &Manifest) -> bool {
    published.images.iter().any(|other| {
        other.reference == image.reference
            && image.digest.as_ref().is_none_or(|d| *d == other.digest)
    })
}

/// Describes in one line how a build differs from the published one.
fn describe_change(build: &Build, published: &Manifest) -> String {
    let mut changes: Vec<String> = build
        .images
        .iter()
        .filter(|image| !is_published(image, published))
        .map(|image| format!("{} is new", image.reference))
        .collect();
    let is_planned = |image: &&CachedImage| {
        build.images.iter().any(|planned| planned.reference == image.reference)
    };
    let dropped = published.images.iter().filter(|image| !is_planned(image));
    changes.extend(dropped.map(|image| format!("{} goes", image.reference)));
    if published.kernel.is_none() {
        changes.push("an older version of Frontload made the published snapshot".to_owned());
    }
    if build.os != published.os {
        changes.push(format!("Bottlerocket {} follows {}", build.os.version, published.os.version));
    }
    match changes.len() {
        0 => "the configuration differs from the published one".to_owned(),
        1..=3 => changes.join("; "),
        more => format!("{}; and {} more", changes[..2].join("; "), more - 2),
    }
}

/// Largest value of an advanced parameter in bytes (Parameter Store, "Parameter
/// tiers").
const MAX_PARAMETER_BYTES: usize = 8192;

/// Returns the longest report that a builder of this build could send, and a snapshot's id.
fn longest_report(build: &Build) -> serde_json::Result<(PulledImages, SnapshotId)> {
    let zeros = |count| "0".repeat(count);
    let digest = format!("sha256:{}", zeros(64));
    let image = |image: &PlannedImage| json!({"reference": image.reference, "digest": digest});
    let pulled = json!({
        "containerd": zeros(32),
        "kernel": zeros(32),
        "images": build.images.iter().map(image).collect::<Vec<_>>(),
        "usedBytes": u64::MAX,
        "flushed": true,
        "ancestor": AncestorFate::Kept,
        "listing": digest,
    });
    let snapshot = json!(format!("snap-{}", zeros(17)));
    Ok((serde_json::from_value(pulled)?, serde_json::from_value(snapshot)?))
}

/// Rejects a manifest that is too large before the pull, not after it.
fn check_manifest_fits(prefix: &ParameterPrefix, build: &Build) -> Result<()> {
    let Ok((pulled, snapshot)) = longest_report(build) else { return Ok(()) };
    let replica = |settings: &RegionSettings| Replica {
        region: settings.region.clone(),
        snapshot_id: snapshot.clone(),
        encrypted: true,
        kms_key_id: settings.kms_key_id.clone(),
    };
    let replicas: Vec<Replica> = build.regions.iter().map(replica).collect();
    let listing = pulled.listing.clone();
    let ancestor = Ancestor { snapshot_id: snapshot, listing, links: u16::MAX };
    let longest = Build { ancestor: Some(ancestor), volume_gib: u16::MAX, ..build.clone() };
    let mut manifests = Manifest::of_replicas(&longest, u64::MAX, &pulled, &replicas);
    for manifest in &mut manifests {
        manifest.durations = Some(Durations::LONGEST);
    }
    let bytes = manifests.iter().map(|manifest| manifest.text().len()).max().unwrap_or_default();
    if bytes <= MAX_PARAMETER_BYTES {
        return Ok(());
    }
    Err(Error::InvalidCache {
        parameter: prefix.cache(&build.cache),
        problem: format!(
            "images: the manifest of {} images for {} regions and {} consumers would have {bytes} \
             bytes, a parameter holds {MAX_PARAMETER_BYTES}: split the cache",
            build.images.len(),
            build.regions.len(),
            build.consumers.len()
        ),
    })
}
