//! The order in which a builder pulls its images.
//!
//! containerd 2.x unpacks a layer once, however many pulls need it, so all images are pulled at
//! once. In 1.x each pull unpacks every layer itself, and all copies but one are discarded: four
//! images with one base took 46 s in parallel and 33 s in sequence (measured with 1.6). There an
//! image waits for the image with which it shares most, so that the shared layers are already
//! unpacked.

use std::collections::HashMap;

use crate::{Digest, PlannedImage};

/// A layer of an image, as its manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the compressed layer.
    pub digest: Digest,
    /// Compressed size in bytes.
    pub bytes: u64,
}

/// Sum of the layers' sizes, in bytes. The sizes come from whoever pushed the image, so a sum that
/// overflows becomes `u64::MAX`.
#[must_use]
pub fn total_bytes(layers: &[Layer]) -> u64 {
    layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.bytes))
}

/// Bytes to download for all images together; a shared layer counts once.
#[must_use]
pub fn distinct_bytes<'a>(images: impl Iterator<Item = &'a [Layer]>) -> u64 {
    let layers = images.flatten().map(|layer| (layer.digest.as_str(), layer.bytes));
    let distinct: HashMap<_, _> = layers.collect();
    distinct.into_values().fold(0, u64::saturating_add)
}

/// Sets for each image the image that it waits for, and the topmost layer that both share.
pub fn set_waits(images: &mut [PlannedImage], layers: &[Option<Vec<Layer>>]) {
    for (index, waits_for) in waits(layers).into_iter().enumerate() {
        let (Some(other), Some(image)) = (waits_for, images.get_mut(index)) else { continue };
        let [own, other_layers] =
            [index, other].map(|at| layers[at].as_deref().unwrap_or_default());
        image.waits_for = waits_for;
        image.shared_layer = alike(own, other_layers).last().map(|layer| layer.digest.clone());
    }
}

/// For each image, the index of the image that it must wait for with containerd 1.x, if any. Two
/// images that do not wait for each other, directly or indirectly, then never unpack the same
/// layer. Layers are unpacked from the lowest up, so two images share the layers with which both
/// begin.
///
/// `images` contains each image's layers, lowest first, or `None` if they are unknown. Such an
/// image gets `None` and must be pulled alone.
#[must_use]
pub fn waits(images: &[Option<Vec<Layer>>]) -> Vec<Option<usize>> {
    let known: Vec<usize> = (0..images.len()).filter(|&i| images[i].is_some()).collect();
    let layers = |i: usize| images[i].as_deref().unwrap_or_default();
    let deepest = |i: usize| {
        let shared = known.iter().filter(|&&j| j != i).map(|&j| common(layers(i), layers(j)));
        shared.max().unwrap_or_default()
    };
    let mut smallest_first = known.clone();
    smallest_first.sort_by_key(|&i| total_bytes(layers(i)));
    let mut most_shared_first = smallest_first.clone();
    most_shared_first.sort_by_key(|&i| std::cmp::Reverse(deepest(i)));
    let plans = [smallest_first, most_shared_first].map(|order| waits_in_order(images, &order));
    let best = plans.into_iter().min_by_key(|waits| makespan(images, waits));
    best.unwrap_or_default()
}

/// Each image waits for the earlier one with which it shares most.
fn waits_in_order(images: &[Option<Vec<Layer>>], order: &[usize]) -> Vec<Option<usize>> {
    let layers = |i: usize| images[i].as_deref().unwrap_or_default();
    let mut waits = vec![None; images.len()];
    for (place, &image) in order.iter().enumerate() {
        let mut most = 0;
        for &earlier in &order[..place] {
            let shared = common(layers(image), layers(earlier));
            if shared > most {
                (most, waits[image]) = (shared, Some(earlier));
            }
        }
    }
    waits
}

/// The layers with which both begin.
fn alike<'a>(one: &'a [Layer], other: &[Layer]) -> &'a [Layer] {
    let count = one.iter().zip(other).take_while(|(a, b)| a.digest == b.digest).count();
    &one[..count]
}

/// Bytes of the layers with which both begin; an empty layer counts as one byte.
fn common(one: &[Layer], other: &[Layer]) -> u64 {
    alike(one, other).iter().map(|layer| layer.bytes.max(1)).sum()
}

/// The time until the last image is pulled, in bytes pulled by the longest chain of waits.
fn makespan(images: &[Option<Vec<Layer>>], waits: &[Option<usize>]) -> u64 {
    let layers = |i: usize| images[i].as_deref().unwrap_or_default();
    let finish = |image: usize| {
        let (mut sum, mut at) = (0, image);
        while let Some(earlier) = waits[at] {
            sum += total_bytes(layers(at)).saturating_sub(common(layers(at), layers(earlier)));
            at = earlier;
        }
        sum + total_bytes(layers(at))
    };
    (0..images.len()).map(finish).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::sample;

    /// One layer per letter; its size is the letter's position in the alphabet.
    fn image(letters: &str) -> Vec<Layer> {
        let layer = |letter: char| Layer {
            digest: format!("sha256:{:064x}", u32::from(letter)).parse().unwrap(),
            bytes: u64::from(u32::from(letter) - u32::from('a')) + 1,
        };
        letters.chars().map(layer).collect()
    }

    fn images(all: &[&str]) -> Vec<Option<Vec<Layer>>> {
        all.iter().map(|letters| Some(image(letters))).collect()
    }

    #[test]
    fn images_that_share_a_base_wait_for_the_smallest_of_them() {
        assert_eq!(waits(&images(&["zx", "za", "zm"])), [Some(1), None, Some(1)]);
    }

    #[test]
    fn unrelated_and_unknown_images_do_not_wait() {
        // Equal layers on different bases are different files, so they are not shared.
        assert_eq!(waits(&images(&["ac", "bc", "c"])), [None, None, None]);
        assert_eq!(waits(&[Some(image("ab")), None, Some(image("ac"))]), [None, None, Some(0)]);
        assert_eq!(waits(&[]), []);
    }

    #[test]
    fn the_same_image_under_two_names_is_unpacked_once() {
        assert_eq!(waits(&images(&["ab", "ab"])), [None, Some(0)]);
    }

    #[test]
    fn an_image_knows_the_topmost_layer_shared_with_its_predecessor() {
        let mut build = sample();
        build.images = vec![build.images[0].clone(); 3];
        set_waits(&mut build.images, &images(&["zyx", "zya", "b"]));
        let shared = |at: usize| build.images[at].shared_layer.as_ref();
        assert_eq!([0, 1, 2].map(|at| build.images[at].waits_for), [Some(1), None, None]);
        assert_eq!([0, 1, 2].map(shared), [Some(&image("y")[0].digest), None, None]);
    }

    #[test]
    fn shared_layers_count_once() {
        let all = images(&["zab", "zac"]);
        assert_eq!(distinct_bytes(all.iter().flatten().map(Vec::as_slice)), 26 + 1 + 2 + 3);
    }

    /// Images as paths in a tree, so that many of them begin with the same layers.
    fn any_images(most: usize) -> impl Strategy<Value = Vec<Option<Vec<Layer>>>> {
        vec(vec(0..3_u8, 1..5), 1..most).prop_map(|all| {
            let letters = |path: Vec<u8>| -> String {
                // The letter depends on the layer's depth, so equal letters mean the same place.
                let letter = |(depth, step): (u8, u8)| char::from(b'a' + step * 7 + depth);
                (0..).zip(path).map(letter).collect()
            };
            all.into_iter().map(|path| Some(image(&letters(path)))).collect()
        })
    }

    fn waits_for(waits: &[Option<usize>], image: usize, other: usize) -> bool {
        let next = |&at: &usize| waits[at];
        std::iter::successors(waits[image], next).any(|at| at == other)
    }

    /// How many of an image's layers are already unpacked when it starts.
    fn found(images: &[Option<Vec<Layer>>], waits: &[Option<usize>], image: usize) -> usize {
        let next = |&at: &usize| waits[at];
        let own = images[image].as_deref().unwrap();
        let found_of = |at: usize| alike(own, images[at].as_deref().unwrap()).len();
        std::iter::successors(waits[image], next).map(found_of).max().unwrap_or_default()
    }

    fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
        if items.is_empty() {
            return vec![vec![]];
        }
        let mut all = Vec::new();
        for (place, &first) in items.iter().enumerate() {
            let mut rest = items.to_vec();
            rest.remove(place);
            for mut tail in permutations(&rest) {
                tail.insert(0, first);
                all.push(tail);
            }
        }
        all
    }

    proptest! {
        #[test]
        fn no_layer_is_unpacked_by_two_images_at_once(images in any_images(12)) {
            let waits = waits(&images);
            for one in 0..images.len() {
                for other in 0..one {
                    if waits_for(&waits, one, other) || waits_for(&waits, other, one) {
                        continue;
                    }
                    let (a, b) = (images[one].as_deref().unwrap(), images[other].as_deref().unwrap());
                    let alike = a.iter().zip(b).take_while(|(a, b)| a.digest == b.digest).count();
                    let unpacked = found(&images, &waits, one).max(found(&images, &waits, other));
                    prop_assert!(alike <= unpacked, "{one} and {other} of {waits:?}");
                }
            }
        }

        #[test]
        fn images_never_wait_in_a_circle(images in any_images(12)) {
            let waits = waits(&images);
            prop_assert_eq!(waits.len(), images.len());
            for image in 0..images.len() {
                prop_assert!(!waits_for(&waits, image, image), "{waits:?} goes in circles");
            }
        }

        #[test]
        fn all_images_arrive_in_less_than_twice_the_best_time(images in any_images(6)) {
            let all: Vec<usize> = (0..images.len()).collect();
            let plans = permutations(&all).into_iter().map(|order| waits_in_order(&images, &order));
            let best = plans.map(|waits| makespan(&images, &waits)).min().unwrap();
            prop_assert!(makespan(&images, &waits(&images)) < 2 * best);
        }
    }
}
