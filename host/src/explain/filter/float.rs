//! The float side of a filter: plain loops over a picture.

use super::Kernel;
use crate::network::Node;
use anyhow::{Context, bail};
use ocelli::ir::{Activation, Op, Shape, Window};

/// Runs one operator of a filter on `[h, w, c]` values.
pub(super) fn run(node: &Node, kernel: &Kernel, input: &[f32]) -> anyhow::Result<Vec<f32>> {
    match node.op {
        Op::DepthwiseConv2d { window, activation, .. } => {
            let low = if activation == Activation::Relu { 0.0 } else { f64::NEG_INFINITY };
            slide(node, &window, input, |values| {
                let sum: f64 = values.iter().zip(kernel.values()).map(|(v, w)| v.unwrap_or(0.0) * f64::from(*w)).sum();
                sum.max(low)
            })
        }
        Op::MaxPool2d { window } => {
            slide(node, &window, input, |values| values.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        Op::AveragePool2d { window } => slide(node, &window, input, |values| {
            values.iter().flatten().sum::<f64>() / values.iter().flatten().count().max(1) as f64
        }),
        _ => bail!("a filter has no operator '{}'", node.name),
    }
}

/// Calls `make` with the values of every window and channel; a value outside the picture is `None`.
fn slide(
    node: &Node,
    window: &Window,
    input: &[f32],
    make: impl Fn(&[Option<f64>]) -> f64,
) -> anyhow::Result<Vec<f32>> {
    let (shape, output) = (node.input(), node.output);
    let [top, left, ..] = window.resolve(shape).context("the window does not fit")?.pads;
    let place = |axis: usize, out: u32, cell: u16, pad: u16| {
        i64::from(out) * i64::from(window.stride[axis]) + i64::from(cell) * i64::from(window.dilation[axis])
            - i64::from(pad)
    };
    let mut made = Vec::with_capacity(output.elements().unwrap_or(0) as usize);
    let mut values = Vec::with_capacity(usize::from(window.kernel[0]) * usize::from(window.kernel[1]));
    for y in 0..output.h {
        for x in 0..output.w {
            for c in 0..output.c {
                values.clear();
                for ky in 0..window.kernel[0] {
                    for kx in 0..window.kernel[1] {
                        let at = index(shape, place(0, y, ky, top), place(1, x, kx, left), c);
                        values.push(at.and_then(|at| input.get(at)).map(|&v| f64::from(v)));
                    }
                }
                made.push(make(&values) as f32);
            }
        }
    }
    Ok(made)
}

/// Place of a pixel's channel; `None` outside the picture.
fn index(shape: Shape, y: i64, x: i64, c: u32) -> Option<usize> {
    let inside = (0..i64::from(shape.h)).contains(&y) && (0..i64::from(shape.w)).contains(&x);
    inside.then(|| ((y as usize * shape.w as usize) + x as usize) * shape.c as usize + c as usize)
}
