//! Names the instruction set that the kernels are compiled for: `cfg(ocelli_isa = "...")`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(ocelli_isa, values(\"armv7em\", \"armv7m\", \"armv6m\", \"riscv32\"))");
    let target = std::env::var("TARGET").unwrap_or_default();
    // Cargo tells a build script the target, not whether the core behind thumbv8m.main has the DSP extension: a feature does.
    let has_dsp = std::env::var_os("CARGO_FEATURE_DSP").is_some();
    let isa = match target.split('-').next().unwrap_or_default() {
        "thumbv7em" => "armv7em",
        "thumbv8m.main" if has_dsp => "armv7em",
        "thumbv7m" | "thumbv8m.main" => "armv7m",
        "thumbv6m" | "thumbv8m.base" => "armv6m",
        arch if arch.starts_with("riscv32") => "riscv32",
        _ => return,
    };
    println!("cargo::rustc-cfg=ocelli_isa=\"{isa}\"");
}
