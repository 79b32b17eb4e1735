//! The `[augmentation]` section of `config.toml`.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// What an image may go through. The default changes nothing.
///
/// Each value is drawn anew for each image and epoch, evenly from its range.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentationConfig {
    /// Rotation in degrees, up to this much either way (Keras' `rotation_range`).
    pub rotation: f64,
    /// Shift to the left or right, as a share of the width (Keras' `width_shift_range`).
    pub width_shift: f64,
    /// Shift up or down, as a share of the height (Keras' `height_shift_range`).
    pub height_shift: f64,
    /// Shear angle in degrees, up to this much either way (Keras' `shear_range`).
    pub shear: f64,
    /// Zoom factors, lowest and highest, drawn for each axis by itself (Keras' `zoom_range`): below 1 things grow, above 1 they
    /// shrink.
    pub zoom: [f64; 2],
    /// Zoom factors along the rows, in place of `zoom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoom_x: Option<[f64; 2]>,
    /// Zoom factors along the columns, in place of `zoom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoom_y: Option<[f64; 2]>,
    /// Every second image is mirrored, left and right exchanged.
    pub horizontal_flip: bool,
    /// Every second image is mirrored, top and bottom exchanged.
    pub vertical_flip: bool,
    /// The image is shifted by up to this many whole pixels along both axes: padded by them on all sides, then cropped.
    pub random_crop: u32,
    /// Factors of brightness, lowest and highest (Keras' `brightness_range`).
    pub brightness: [f64; 2],
    /// Factors of contrast, lowest and highest: the distance of each channel to its mean.
    pub contrast: [f64; 2],
    /// Factors of saturation, lowest and highest: 0 is gray. Needs colours.
    pub saturation: [f64; 2],
    /// Hue, up to this share of the colour circle either way (at most 0.5). Needs colours.
    pub hue: f64,
    /// Side in pixels of a square that is filled with the mean pixel, somewhere; 0: none.
    pub cutout: u32,
    /// Alpha of mixup, at most 1: images of a batch are mixed in pairs by a share drawn from Beta(alpha, alpha); 0: none.
    pub mixup: f64,
    /// What lies outside of an image.
    pub fill: Fill,
    /// The pixel value of `fill = "constant"`.
    pub fill_value: u8,
}

/// What lies outside of an image `abcd` (Keras' `fill_mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// `aaaa|abcd|dddd`
    #[default]
    Nearest,
    /// `dcba|abcd|dcba`
    Reflect,
    /// `abcd|abcd|abcd`
    Wrap,
    /// `kkkk|abcd|kkkk` with the fill value `k`
    Constant,
}

impl Default for AugmentationConfig {
    fn default() -> Self {
        Self {
            rotation: 0.0,
            width_shift: 0.0,
            height_shift: 0.0,
            shear: 0.0,
            zoom: [1.0; 2],
            zoom_x: None,
            zoom_y: None,
            horizontal_flip: false,
            vertical_flip: false,
            random_crop: 0,
            brightness: [1.0; 2],
            contrast: [1.0; 2],
            saturation: [1.0; 2],
            hue: 0.0,
            cutout: 0,
            mixup: 0.0,
            fill: Fill::Nearest,
            fill_value: 0,
        }
    }
}

impl AugmentationConfig {
    /// Whether no image is changed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self { fill: self.fill, fill_value: self.fill_value, ..Self::default() }
    }

    /// Whether it asks for what only colours can do.
    #[must_use]
    pub fn changes_hues(&self) -> bool {
        self.saturation != [1.0; 2] || self.hue != 0.0
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// Names the key and what it may be.
    pub fn validate(&self) -> anyhow::Result<()> {
        let up_to = |key: &str, value: f64, limit: f64| {
            ensure!((0.0..=limit).contains(&value), "[augmentation] {key} = {value} must be from 0 to {limit}");
            Ok(())
        };
        up_to("rotation", self.rotation, 180.0)?;
        up_to("width_shift", self.width_shift, 1.0)?;
        up_to("height_shift", self.height_shift, 1.0)?;
        up_to("shear", self.shear, 80.0)?;
        up_to("hue", self.hue, 0.5)?;
        up_to("mixup", self.mixup, 1.0)?;
        let range = |key: &str, [low, high]: [f64; 2], lowest: f64, highest: f64| {
            ensure!(
                lowest <= low && low <= high && high <= highest,
                "[augmentation] {key} = [{low}, {high}] must be the lowest and the highest factor, from {lowest} to {highest} \
                 (1 changes nothing)"
            );
            Ok(())
        };
        range("zoom", self.zoom, 0.05, 20.0)?;
        range("zoom_x", self.zoom_x.unwrap_or(self.zoom), 0.05, 20.0)?;
        range("zoom_y", self.zoom_y.unwrap_or(self.zoom), 0.05, 20.0)?;
        range("brightness", self.brightness, 0.0, 10.0)?;
        range("contrast", self.contrast, 0.0, 10.0)?;
        range("saturation", self.saturation, 0.0, 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_of_integers_and_floats_is_read_and_written_back() {
        let text = "rotation = 20\nzoom = [0.8, 1]\nzoom_y = [1, 2]\nhorizontal_flip = true\nfill = \"reflect\"\n";
        let config: AugmentationConfig = toml::from_str(text).unwrap();
        assert_eq!((config.rotation, config.zoom, config.zoom_y), (20.0, [0.8, 1.0], Some([1.0, 2.0])));
        assert_eq!(config.fill, Fill::Reflect);
        assert!(!config.is_none());
        assert_eq!(toml::from_str::<AugmentationConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn a_fill_alone_changes_nothing() {
        assert!(toml::from_str::<AugmentationConfig>("fill = \"wrap\"").unwrap().is_none());
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, expected) in [
            ("rotation = -3", "rotation = -3"),
            ("zoom = [1.2, 0.8]", "zoom = [1.2, 0.8]"),
            ("zoom_x = [0, 1]", "zoom_x = [0, 1]"),
            ("hue = nan", "hue = NaN"),
            ("brightness = [0.5, inf]", "brightness"),
            ("mixup = 2", "mixup = 2"),
        ] {
            let config: AugmentationConfig = toml::from_str(text).unwrap();
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        for text in ["spin = 3", "fill = \"mirror\"", "zoom = 0.2", "cutout = -1"] {
            assert!(toml::from_str::<AugmentationConfig>(text).is_err(), "{text}");
        }
    }
}
