//! The kernels of image processing, by name, and kernels that are written out.

use anyhow::{Context, bail, ensure};

/// Longest side of a kernel.
const MAX_SIDE: usize = 31;

/// A kernel of real numbers, not mirrored.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Its name, or the text that it was given as.
    pub name: String,
    size: [u16; 2],
    values: Vec<f32>,
}

/// A kernel that has a name: whole numbers, and what they are divided by.
struct Named {
    name: &'static str,
    what: &'static str,
    rows: [[i8; 3]; 3],
    divisor: u8,
}

const fn named(name: &'static str, what: &'static str, rows: [[i8; 3]; 3], divisor: u8) -> Named {
    Named { name, what, rows, divisor }
}

/// Sources: Sobel and Feldman 1968, Prewitt 1970; the others are the common ones of image editors.
const NAMED: [Named; 12] = [
    named("identity", "the picture itself", [[0, 0, 0], [0, 1, 0], [0, 0, 0]], 1),
    named("sobel-x", "edges from left to right", [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], 1),
    named("sobel-y", "edges from top to bottom", [[-1, -2, -1], [0, 0, 0], [1, 2, 1]], 1),
    named("prewitt-x", "edges from left to right, unweighted", [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]], 1),
    named("prewitt-y", "edges from top to bottom, unweighted", [[-1, -1, -1], [0, 0, 0], [1, 1, 1]], 1),
    named("laplacian", "edges in all directions, the second derivative", [[0, 1, 0], [1, -4, 1], [0, 1, 0]], 1),
    named("outline", "edges in all directions, diagonals too", [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], 1),
    named("sharpen", "the picture and its edges", [[0, -1, 0], [-1, 5, -1], [0, -1, 0]], 1),
    named("emboss", "the picture lit from one side", [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], 1),
    named("box-blur", "the mean of nine", [[1, 1, 1], [1, 1, 1], [1, 1, 1]], 9),
    named("gaussian-blur", "a mean that the middle leads", [[1, 2, 1], [2, 4, 2], [1, 2, 1]], 16),
    named("motion-blur", "the mean of three in a row", [[0, 0, 0], [1, 1, 1], [0, 0, 0]], 3),
];

/// Every named kernel and what it does.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMED.iter().map(|kernel| (kernel.name, kernel.what))
}

impl Kernel {
    /// The kernel of that name, or one written as `[[1, 0, -1], [2, 0, -2], [1, 0, -1]]`.
    ///
    /// # Errors
    /// When it is neither, is no rectangle, is larger than 31x31, or holds what is no number.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        if let Some(found) = NAMED.iter().find(|kernel| kernel.name == text) {
            let values = found.rows.as_flattened().iter().map(|&v| f32::from(v) / f32::from(found.divisor));
            return Ok(Self { name: text.to_owned(), size: [3, 3], values: values.collect() });
        }
        if !text.starts_with('[') {
            let known: Vec<&str> = names().map(|(name, _)| name).collect();
            bail!(
                "there is no kernel '{text}': choose one of {}, or write one as \"[[0,-1,0],[-1,5,-1],[0,-1,0]]\"",
                known.join(", ")
            );
        }
        let rows: Vec<Vec<f32>> = serde_json::from_str(text).with_context(|| {
            format!("the kernel {text} is not rows of numbers: write it as \"[[0,-1,0],[-1,5,-1],[0,-1,0]]\"")
        })?;
        let columns = rows.first().map_or(0, Vec::len);
        ensure!(
            columns > 0 && rows.iter().all(|row| row.len() == columns),
            "the rows of the kernel {text} must all be of one length"
        );
        ensure!(
            rows.len() <= MAX_SIDE && columns <= MAX_SIDE,
            "a kernel of {} x {columns} is larger than {MAX_SIDE} x {MAX_SIDE}",
            rows.len()
        );
        let values = rows.concat();
        ensure!(
            values.iter().all(|v| v.is_finite() && v.abs() <= 1e6),
            "the kernel {text} holds a number that is too large"
        );
        ensure!(
            values.iter().any(|&v| v != 0.0),
            "the kernel {text} is all zero: nothing would be left of the picture"
        );
        Ok(Self { name: text.to_owned(), size: [rows.len() as u16, columns as u16], values })
    }

    /// Rows and columns.
    #[must_use]
    pub const fn size(&self) -> [u16; 2] {
        self.size
    }

    /// The numbers, row by row.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether a plain area keeps its brightness: the numbers sum to one.
    #[must_use]
    pub fn keeps_brightness(&self) -> bool {
        (self.values.iter().sum::<f32>() - 1.0).abs() < 1e-3
    }

    /// The real value of one int8 step: one that all numbers are multiples of, else the largest number's 127th.
    #[must_use]
    pub fn unit(&self) -> f32 {
        let largest = self.values.iter().fold(0.0_f32, |largest, v| largest.max(v.abs()));
        let fits = |divisor: &f32| {
            largest * divisor <= 127.0 && self.values.iter().all(|v| (v * divisor - (v * divisor).round()).abs() < 1e-3)
        };
        // the largest such unit: the smallest divisor
        (1..=127).map(|n| n as f32).find(|divisor| fits(divisor)).map_or(largest / 127.0, |divisor| 1.0 / divisor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_kernels_sum_to_what_they_are_for() {
        let sum = |name: &str| Kernel::parse(name).unwrap().values().iter().sum::<f32>();
        for edges in ["sobel-x", "sobel-y", "prewitt-x", "prewitt-y", "laplacian", "outline"] {
            assert_eq!(sum(edges), 0.0, "{edges}: a plain area has no edges");
        }
        for (name, _) in names().filter(|(name, _)| !["sobel", "prewi", "lapla", "outli"].contains(&&name[..5])) {
            assert!(Kernel::parse(name).unwrap().keeps_brightness(), "{name}: {}", sum(name));
        }
    }

    #[test]
    fn the_int8_kernels_of_all_names_are_exact() {
        for (name, _) in names() {
            let kernel = Kernel::parse(name).unwrap();
            for v in kernel.values() {
                let steps = v / kernel.unit();
                assert!((steps - steps.round()).abs() < 1e-4, "{name}: {v} is {steps} steps of {}", kernel.unit());
            }
        }
        assert_eq!(Kernel::parse("[[0.5, 100]]").unwrap().unit(), 100.0 / 127.0, "no unit of both fits a byte");
    }

    #[test]
    fn what_is_no_kernel_is_explained() {
        let error = |text: &str| format!("{:#}", Kernel::parse(text).unwrap_err());
        assert!(error("sobel").contains("sobel-x, sobel-y"));
        assert!(error("[[1,2],[3]]").contains("one length"));
        assert!(error("[1,2]").contains("rows of numbers"));
        assert!(error("[[]]").contains("one length"));
        assert!(error("[[1e9]]").contains("too large"));
        assert!(error("[[0]]").contains("all zero"));
        let wide = format!("[[{}]]", vec!["1"; 32].join(","));
        assert!(error(&wide).contains("31 x 31"));
    }
}
