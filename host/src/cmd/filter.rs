//! `ocelli filter`

use super::Verdict;
use anyhow::{Context, bail, ensure};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use ocelli::image::ColorOrder;
use ocelli::ir::{Padding, Shape};
use ocelli_host::data::RawImage;
use ocelli_host::explain::cell::{Sum, sum};
use ocelli_host::explain::filter::{self, Channel, Filtered, Kernel, Options, Pool, filter};
use ocelli_host::files::write_atomically;
use std::path::PathBuf;

/// Convolve a photo by hand
///
/// Convolves a photo with a kernel, as a layer of a network does: in int8 by the kernels that run on the device, and in float, with the
/// difference of the two. Outside of the photo there is black; the kernel is not mirrored.
///
///   ocelli filter photo.jpg --kernel sobel-x --out edges.png
///   ocelli filter photo.jpg --kernel "[[0,-1,0],[-1,5,-1],[0,-1,0]]" --at 120,80
///   ocelli filter --list
///
/// Of a kernel whose numbers sum to one the result is a picture again. Of another one zero is gray in the result (black with --relu),
/// and the largest value decides how bright it is.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The photo.
    #[arg(required_unless_present = "list")]
    image: Option<PathBuf>,
    /// A kernel's name (see --list), or its rows as "[[..],[..],[..]]".
    #[arg(long, short, required_unless_present = "list", allow_hyphen_values = true)]
    kernel: Option<String>,
    /// The result as PNG.
    #[arg(long, short, default_value = "filtered.png")]
    out: PathBuf,
    /// Photo, float result, int8 result and their difference (1 step is 32 levels) side by side as PNG.
    #[arg(long)]
    compare: Option<PathBuf>,
    /// Pixels that the window moves at a time.
    #[arg(long, default_value_t = 1)]
    stride: u16,
    /// Pixels from one kernel cell to the next.
    #[arg(long, default_value_t = 1)]
    dilation: u16,
    /// same: as large as the photo (at stride 1); valid: only windows inside it.
    #[arg(long, default_value = "same", value_parser = ["same", "valid"])]
    padding: String,
    /// Cut values below zero.
    #[arg(long)]
    relu: bool,
    /// A pool of 2x2 behind the convolution.
    #[arg(long, value_parser = ["max", "average"])]
    pool: Option<String>,
    /// What is filtered: luma, one colour, or each colour by itself.
    #[arg(long, default_value = "each", value_parser = ["gray", "r", "g", "b", "each"])]
    channel: String,
    /// Print how the pixel at column X, row Y of the convolution's output was made.
    #[arg(long, value_name = "X,Y")]
    at: Option<String>,
    /// List the named kernels.
    #[arg(long)]
    list: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    if args.list {
        for (name, what) in filter::names() {
            println!("{name:<14} {what}");
            print!("{}", rows(&Kernel::parse(name)?, "    "));
        }
        return Ok(Verdict::Done);
    }
    let (Some(image), Some(kernel)) = (&args.image, &args.kernel) else { bail!("a photo and a --kernel are needed") };
    let kernel = Kernel::parse(kernel)?;
    let options = options(args)?;
    let at = args.at.as_deref().map(parse_at).transpose()?;
    let photo = RawImage::open(image)?;
    let filtered = filter(&photo, &kernel, &options).with_context(|| image.display().to_string())?;
    let [Some(input), Some(convolved), Some(result)] =
        [filtered.inside.tensors.first(), filtered.inside.tensors.get(1), filtered.inside.tensors.last()]
    else {
        bail!("nothing was filtered");
    };
    let (from, to) = (input.shape, result.shape);
    println!("{}, {} x {}", kernel.name, kernel.size()[0], kernel.size()[1]);
    print!("{}", rows(&kernel, "    "));
    let (largest, mean) = filtered.difference();
    println!(
        "{} x {} -> {} x {}, {}: one int8 step is {:.4}; float and int8 differ by {largest:.2} steps at most, {mean:.2} on average",
        from.w,
        from.h,
        to.w,
        to.h,
        if filtered.color == ColorOrder::Gray { "one channel" } else { "each of three channels" },
        result.params.scale,
    );
    if let Some([x, y]) = at {
        let Shape { h, w, c } = convolved.shape;
        ensure!(x < w as usize && y < h as usize, "--at {x},{y}: the convolution's output is {w} x {h} pixels");
        for channel in 0..c as usize {
            let sum = sum(&filtered.inside, 0, [y, x, channel]).context("the pixel has no sum")?;
            print!("{}", arithmetic(&filtered, &kernel, [y, x, channel], &sum));
        }
    }
    write_png(&args.out, to, &filtered.int8_pixels())?;
    if let Some(compare) = &args.compare {
        let (shape, pixels) = side_by_side(&filtered);
        write_png(compare, shape, &pixels)?;
        println!("wrote {} (photo, float, int8, difference)", compare.display());
    }
    println!("wrote {}", args.out.display());
    Ok(Verdict::Done)
}

fn options(args: &Args) -> anyhow::Result<Options> {
    let options = Options {
        stride: args.stride,
        dilation: args.dilation,
        padding: if args.padding == "valid" { Padding::Valid } else { Padding::Same },
        relu: args.relu,
        pool: args.pool.as_deref().map(|pool| if pool == "max" { Pool::Max } else { Pool::Average }),
        channel: match args.channel.as_str() {
            "gray" => Channel::Gray,
            "r" => Channel::One(0),
            "g" => Channel::One(1),
            "b" => Channel::One(2),
            _ => Channel::Each,
        },
    };
    filter::check(&options)?;
    Ok(options)
}

fn parse_at(text: &str) -> anyhow::Result<[usize; 2]> {
    let numbers: Vec<usize> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let numbers: Option<[usize; 2]> = numbers.try_into().ok().filter(|_| text.split(',').count() == 2);
    numbers.with_context(|| format!("--at {text}: give column and row of a pixel, such as --at 120,80"))
}

/// A kernel's numbers in columns.
fn rows(kernel: &Kernel, indent: &str) -> String {
    let columns = usize::from(kernel.size()[1]).max(1);
    let line = |row: &[f32]| {
        let numbers: Vec<String> = row.iter().map(|v| format!("{:>7}", short(f64::from(*v)))).collect();
        format!("{indent}{}\n", numbers.join(" "))
    };
    kernel.values().chunks(columns).map(line).collect()
}

/// A number with at most four places behind the point.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The sum behind a pixel, in float and in int8.
fn arithmetic(filtered: &Filtered, kernel: &Kernel, [y, x, channel]: [usize; 3], sum: &Sum) -> String {
    use std::fmt::Write;
    let (columns, names) = (usize::from(kernel.size()[1]).max(1), ["red", "green", "blue"]);
    let name = if filtered.color == ColorOrder::Gray { "gray" } else { names.get(channel).copied().unwrap_or("") };
    let mut text = format!("\npixel {x},{y}, {name}: pixels (0 outside) x weights in int8\n");
    for row in sum.taps.chunks(columns) {
        let pixels: Vec<String> = row.iter().map(|tap| format!("{:>4}", tap.value)).collect();
        let weights: Vec<String> = row.iter().map(|tap| format!("{:>4}", tap.weight)).collect();
        let products: Vec<String> = row.iter().map(|tap| format!("{:>6}", tap.value * tap.weight)).collect();
        let _ = writeln!(text, "    {}  x  {}  =  {}", pixels.join(" "), weights.join(" "), products.join(" "));
    }
    let zero_point = filtered.inside.tensors.get(1).map_or(0, |output| output.params.zero_point);
    let clamp =
        filtered.inside.layers.first().map_or([-128, 127], |layer| [layer.record.act_min, layer.record.act_max]);
    let _ = writeln!(text, "    sum {}", sum.accumulator);
    let _ = writeln!(
        text,
        "    x {} / 2^{} (= {}), rounded: {}",
        sum.factor.multiplier,
        31 - sum.factor.shift,
        short(sum.factor.to_real()),
        sum.scaled
    );
    let _ = writeln!(
        text,
        "    + zero point {zero_point} = {}, clamped to {}..{}: {}, brightness {}",
        sum.shifted,
        clamp[0],
        clamp[1],
        sum.byte,
        i16::from(sum.byte) + 128
    );
    if let Some([_, total, activated]) = sum.float {
        let scale = filtered.inside.tensors.get(1).map_or(1.0, |output| output.params.scale);
        let real = scale * (i32::from(sum.byte) - zero_point) as f32;
        let relu = if activated == total { String::new() } else { format!(", after relu {}", short(activated.into())) };
        let _ = writeln!(text, "    float: {}{relu}; the byte stands for {}", short(total.into()), short(real.into()));
    }
    text
}

/// Photo, float, int8 and difference in a row.
fn side_by_side(filtered: &Filtered) -> (Shape, Vec<u8>) {
    const GAP: usize = 8;
    let photo = filtered.inside.tensors.first();
    let (int8, float) = (filtered.int8_pixels(), filtered.float_pixels());
    let difference: Vec<u8> = int8.iter().zip(&float).map(|(a, b)| a.abs_diff(*b).saturating_mul(32)).collect();
    let before: Vec<u8> =
        photo.map_or(&[][..], |values| &values.int8).iter().map(|&q| (i16::from(q) + 128) as u8).collect(); // 0 to 255
    let result = filtered.inside.tensors.last().map_or(Shape::new(0, 0, 1), |values| values.shape);
    let original = photo.map_or(result, |values| values.shape);
    let panels = [(original, &before), (result, &float), (result, &int8), (result, &difference)];
    let channels = result.c as usize;
    let width = panels.iter().map(|(shape, _)| shape.w as usize + GAP).sum::<usize>() - GAP;
    let height = panels.iter().map(|(shape, _)| shape.h as usize).max().unwrap_or(0);
    let mut pixels = vec![255; width * height * channels];
    let mut left = 0;
    for (shape, panel) in panels {
        let row_len = shape.w as usize * channels;
        for (y, row) in panel.chunks_exact(row_len.max(1)).enumerate() {
            let start = (y * width + left) * channels;
            pixels[start..start + row_len].copy_from_slice(row);
        }
        left += shape.w as usize + GAP;
    }
    (Shape::new(height as u32, width as u32, result.c), pixels)
}

fn write_png(path: &std::path::Path, shape: Shape, pixels: &[u8]) -> anyhow::Result<()> {
    let color = if shape.c == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut file = Vec::new();
    PngEncoder::new(&mut file).write_image(pixels, shape.w, shape.h, color)?;
    write_atomically(path, &file)
}
