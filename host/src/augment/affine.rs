//! Where the pixels of an output image come from: a matrix and an offset.

/// Maps a pixel's place in the output to its place in the source: `x' = xx x + xy y + x0`, `y' = yx x + yy y + y0`, in pixels, the
/// centre of the first pixel at 0.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the formula above names each")]
pub struct Affine {
    pub xx: f64,
    pub xy: f64,
    pub x0: f64,
    pub yx: f64,
    pub yy: f64,
    pub y0: f64,
}

impl Affine {
    /// Every pixel stays.
    pub const IDENTITY: Self = Self { xx: 1.0, xy: 0.0, x0: 0.0, yx: 0.0, yy: 1.0, y0: 0.0 };

    /// Rotation by `degrees`, as Keras has it: the source's place is the output's turned by the angle, y pointing down.
    #[must_use]
    pub fn rotation(degrees: f64) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self { xx: cos, xy: -sin, yx: sin, yy: cos, ..Self::IDENTITY }
    }

    /// The source's place is that many pixels further to the right and down, so that things move to the left and up.
    #[must_use]
    pub fn shift(x: f64, y: f64) -> Self {
        Self { x0: x, y0: y, ..Self::IDENTITY }
    }

    /// Shear by `degrees`, as Keras has it: columns lean and rows come closer.
    #[must_use]
    pub fn shear(degrees: f64) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self { xy: -sin, yy: cos, ..Self::IDENTITY }
    }

    /// The source's distances are those of the output times a factor for each axis.
    #[must_use]
    pub fn zoom(x: f64, y: f64) -> Self {
        Self { xx: x, yy: y, ..Self::IDENTITY }
    }

    /// First `first`, then `self`: the matrix product `self first`.
    #[must_use]
    pub fn after(self, first: Self) -> Self {
        Self {
            xx: self.xx * first.xx + self.xy * first.yx,
            xy: self.xx * first.xy + self.xy * first.yy,
            x0: self.xx * first.x0 + self.xy * first.y0 + self.x0,
            yx: self.yx * first.xx + self.yy * first.yx,
            yy: self.yx * first.xy + self.yy * first.yy,
            y0: self.yx * first.x0 + self.yy * first.y0 + self.y0,
        }
    }

    /// The same about the centre of an image.
    #[must_use]
    pub fn centered(self, height: usize, width: usize) -> Self {
        // the sizes of images are exact in f64
        let (x, y) = ((width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0);
        Self::shift(x, y).after(self).after(Self::shift(-x, -y))
    }

    /// Signs of both axes and whole offsets, where the map is no more than flips and shifts by whole pixels:
    /// `x' = sign_x x + x0`, `y' = sign_y y + y0`.
    #[must_use]
    pub fn as_whole_pixels(&self) -> Option<[i64; 4]> {
        let whole = |value: f64| {
            let rounded = value.round();
            // the residue of products of sines; a bilinear pass could not show it
            ((value - rounded).abs() < 1e-6 && rounded.abs() < 1e9).then_some(rounded as i64)
        };
        let signs = [whole(self.xx)?, whole(self.yy)?];
        let straight = self.xy.abs() < 1e-9 && self.yx.abs() < 1e-9 && signs.iter().all(|sign| sign.abs() == 1);
        // a factor beside 1 adds up over a wide image
        let exact = (self.xx.abs() - 1.0).abs() < 1e-9 && (self.yy.abs() - 1.0).abs() < 1e-9;
        (straight && exact).then_some([signs[0], whole(self.x0)?, signs[1], whole(self.y0)?])
    }
}
