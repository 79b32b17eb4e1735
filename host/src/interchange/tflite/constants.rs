//! Values of constant tensors, and constants that the file keeps in another form than its operators read.

use super::error::TfliteError;
use super::options::Options;
use super::schema::TensorType;
use super::{Data, TfliteModel, TfliteOperator, TfliteQuantization, TfliteTensor};
use std::borrow::Cow;

impl TfliteTensor<'_> {
    /// The bytes of a constant: as many as shape and type say, little-endian, the last dimension running fastest.
    #[must_use]
    pub fn constant(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Constant(bytes) => Some(bytes),
            Data::Computed | Data::Unread(_) => None,
        }
    }

    /// The values of a constant of integers (bias, axes, paddings, shapes, 8-bit weights), `None` for any other tensor.
    #[must_use]
    pub fn integers(&self) -> Option<Vec<i64>> {
        let bytes = self.constant()?;
        Some(match self.kind {
            TensorType::Int8 => values(bytes, |b: [u8; 1]| i64::from(i8::from_le_bytes(b))),
            TensorType::Uint8 | TensorType::Bool => values(bytes, |b: [u8; 1]| i64::from(u8::from_le_bytes(b))),
            TensorType::Int16 => values(bytes, |b: [u8; 2]| i64::from(i16::from_le_bytes(b))),
            TensorType::Int32 => values(bytes, |b: [u8; 4]| i64::from(i32::from_le_bytes(b))),
            TensorType::Int64 => values(bytes, i64::from_le_bytes),
            _ => return None,
        })
    }

    /// The values of a constant of floats, 32 or 16 bits, `None` for any other tensor.
    #[must_use]
    pub fn floats(&self) -> Option<Vec<f32>> {
        let bytes = self.constant()?;
        Some(match self.kind {
            TensorType::Float32 => values(bytes, f32::from_le_bytes),
            TensorType::Float16 => values(bytes, |b: [u8; 2]| half_to_f32(u16::from_le_bytes(b))),
            _ => return None,
        })
    }

    /// The real values of a constant: of floats, or of quantized integers (`scale * (q - zero_point)`).
    #[must_use]
    pub fn real_values(&self) -> Option<Vec<f32>> {
        if let Some(floats) = self.floats() {
            return Some(floats);
        }
        let quantization = self.quantization.as_ref()?;
        let integers = self.integers()?;
        // elements that share a scale lie in runs of the dimensions behind the axis
        let run = match quantization.scales.len() {
            1 => integers.len(),
            _ => self.shape.iter().skip(quantization.axis + 1).product(),
        };
        let real = |(index, &q): (usize, &i64)| {
            let (scale, zero_point) = quantization.of(index / run.max(1));
            (f64::from(scale) * q.saturating_sub(zero_point) as f64) as f32
        };
        Some(integers.iter().enumerate().map(real).collect())
    }
}

impl TfliteQuantization {
    /// Scale and zero point of `channel`; channels count along the axis, again from 0 after the last.
    fn of(&self, channel: usize) -> (f32, i64) {
        let index = channel % self.scales.len().max(1);
        (self.scales.get(index).copied().unwrap_or(1.0), self.zero_points.get(index).copied().unwrap_or(0))
    }
}

impl TfliteModel<'_> {
    /// Brings constants into the form that the operators read, and drops operators that are then of no use. Files of float16 or
    /// 8-bit weights with a DEQUANTIZE each become float networks; the little shape arithmetic that Keras' Flatten leaves before
    /// a RESHAPE goes where the shapes are known. Returns how many operators went.
    ///
    /// # Errors
    /// When the constants would take more than four times the file's size.
    pub fn simplify(&mut self) -> Result<usize, TfliteError> {
        let before = self.operators.len();
        self.dequantize_constants()?;
        self.fix_reshapes();
        self.drop_unread();
        Ok(before - self.operators.len())
    }

    /// Replaces each DEQUANTIZE of a constant by a constant of 32-bit floats. int8 to float32 is four times as long, and a file that
    /// dequantizes the same bytes again and again is none that a converter wrote.
    fn dequantize_constants(&mut self) -> Result<(), TfliteError> {
        let mut left = self.file_bytes.saturating_mul(4);
        for operator in self.operators.iter().filter(|operator| operator.options == Options::Dequantize) {
            let (&[Some(input)], &[output]) = (&operator.inputs[..], &operator.outputs[..]) else { continue };
            let source = &self.tensors[input];
            let fits = source.constant().is_some()
                && self.tensors[output].kind == TensorType::Float32
                && self.tensors[output].shape == source.shape;
            if !fits {
                continue;
            }
            left = (left.checked_sub(source.elements().saturating_mul(4)))
                .ok_or(TfliteError::TooMuch { file_bytes: self.file_bytes })?;
            let Some(values) = source.real_values() else { continue };
            let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
            self.tensors[output].data = Data::Constant(Cow::Owned(bytes));
        }
        let tensors = &self.tensors;
        let is_done = |operator: &TfliteOperator| {
            !operator.outputs.is_empty() && operator.outputs.iter().all(|&output| tensors[output].constant().is_some())
        };
        self.operators.retain(|operator| !is_done(operator));
        Ok(())
    }

    /// Lets a RESHAPE read its value only, where the output tensor has a shape of as many elements: then the file has said it all.
    fn fix_reshapes(&mut self) {
        for operator in &mut self.operators {
            let (Options::Reshape { .. }, &[Some(value), Some(_)], &[output]) =
                (&operator.options, &operator.inputs[..], &operator.outputs[..])
            else {
                continue;
            };
            let (from, to) = (&self.tensors[value], &self.tensors[output]);
            if from.unknown_axes.is_empty() && to.unknown_axes.is_empty() && from.elements() == to.elements() {
                operator.inputs.truncate(1);
            }
        }
    }

    /// Drops operators whose outputs nobody reads, from the end to the front.
    fn drop_unread(&mut self) {
        let mut read = vec![false; self.tensors.len()];
        self.outputs.iter().for_each(|&output| read[output] = true);
        let mut keep = vec![true; self.operators.len()];
        for (operator, keep) in self.operators.iter().zip(&mut keep).rev() {
            // an operator without outputs acts by side effect: it is not for here to drop it
            *keep = operator.outputs.is_empty() || operator.outputs.iter().any(|&output| read[output]);
            if *keep {
                operator.inputs.iter().flatten().for_each(|&input| read[input] = true);
            }
        }
        let mut keep = keep.into_iter();
        self.operators.retain(|_| keep.next().unwrap_or(true));
    }
}

fn values<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| value(chunk)).collect()
}

/// The value of an IEEE 754 half: sign, 5 bits of exponent with bias 15, 10 bits of fraction. Exact.
fn half_to_f32(half: u16) -> f32 {
    let (exponent, fraction) = (i32::from(half >> 10 & 0x1f), f32::from(half & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(exponent - 25),
    };
    if half >> 15 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::half_to_f32;

    #[test]
    fn halves_have_the_values_of_ieee_754() {
        for (half, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 2.0_f32.powi(-14)), // the least normal number
            (0x03ff, 1023.0 * 2.0_f32.powi(-24)),
            (0x0001, 2.0_f32.powi(-24)),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half_to_f32(half), value, "{half:#06x}");
        }
        assert!(half_to_f32(0x7e00).is_nan());
        assert!(half_to_f32(0x8000).is_sign_negative());
    }
}
