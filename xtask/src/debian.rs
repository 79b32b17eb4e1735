//! A toolchain for bare metal from Debian's packages alone: rustc and its library source, built once into a sysroot of our own.

use crate::apt;
use crate::platform::{make_executable, symlink};
use crate::process::{output, run};
use anyhow::{Context, Result, bail};
use ocelli_firmware_tools::toolchain::{debian_sysroot, has_core, target_lib_dir};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Oldest Rust that builds the project.
const MIN_RUST: &str = env!("CARGO_PKG_RUST_VERSION");
/// Debian's compiler, never a shim of rustup's.
pub const RUSTC: &str = "/usr/bin/rustc";
/// Debian's cargo.
pub const CARGO: &str = "/usr/bin/cargo";
/// The standard library's source.
const LIBRARY_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std";
/// Changes with what this file builds, so that an older sysroot is built anew.
const RECIPE: &str = "1";

/// Packages of a Rust toolchain: compiler, cargo, library source, lints. On a stable Debian the `-web` ones are the newer.
const RUST_PACKAGES: [[&str; 4]; 2] =
    [["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy"], ["rustc", "cargo", "rust-src", "rust-clippy"]];

/// The package that has one of QEMU's programs.
pub fn qemu_package(program: &str) -> &str {
    match program {
        "qemu-system-arm" => "qemu-system-arm",
        _ => "qemu-system-misc",
    }
}

/// Installs the toolchain's packages and QEMU's, as far as they are missing or too old.
pub fn ensure_packages(missing_emulators: &[&str]) -> Result<()> {
    if !apt::is_available() {
        bail!("OCELLI_TOOLCHAIN=debian needs apt-get; without it unset the variable and run: cargo xtask setup");
    }
    let has_rust = has_rust();
    let lld = installed_lld();
    if missing_emulators.is_empty() && has_rust && lld.is_some() {
        return Ok(());
    }
    println!(
        "setup: installs from Debian what is missing of: Rust {MIN_RUST} or newer (compiler, cargo, library source, \
         clippy), lld, QEMU"
    );
    apt::update()?;
    let mut packages: Vec<String> = missing_emulators.iter().map(|program| qemu_package(program).to_owned()).collect();
    if lld.is_none() {
        packages.push(newest_lld()?);
    }
    packages.retain(|package| !apt::has(package));
    if !has_rust {
        // apt brings those that are installed, but too old, to the version that it offers.
        let rust = choose_rust()?.into_iter().filter(|package| !is_recent(package));
        packages.extend(rust.map(str::to_owned));
    }
    println!("setup: installs the packages {}", packages.join(" "));
    apt::install(&packages)
}

/// Whether Debian's Rust can build libraries for a target that it has none for.
pub fn has_library_source() -> bool {
    [RUSTC, CARGO, LIBRARY_SOURCE].into_iter().all(|path| Path::new(path).exists()) && has_rust()
}

/// Whether a whole Rust toolchain is installed and new enough.
fn has_rust() -> bool {
    RUST_PACKAGES.iter().any(|packages| packages.iter().all(|package| is_recent(package)))
}

/// Whether a package of the Rust toolchain is installed and new enough.
fn is_recent(package: &str) -> bool {
    apt::installed(package).is_some_and(|version| at_least(&version, MIN_RUST))
}

/// The first set of packages that apt offers in a version new enough.
fn choose_rust() -> Result<[&'static str; 4]> {
    let offers = RUST_PACKAGES.map(|packages| (packages, apt::candidate(packages[0])));
    let new_enough = offers.iter().find(|(_, version)| version.as_deref().is_some_and(|v| at_least(v, MIN_RUST)));
    if let Some((packages, _)) = new_enough {
        return Ok(*packages);
    }
    let found = offers.map(|(packages, version)| format!("{} {}", packages[0], version.as_deref().unwrap_or("none")));
    bail!(
        "apt offers no Rust of at least {MIN_RUST} (it has: {}): enable Debian's security or backports source, or unset \
         OCELLI_TOOLCHAIN and use rustup",
        found.join(", ")
    )
}

/// Whether a Debian version such as `1.96.0+dfsg1-1` is at least `minimum`.
fn at_least(version: &str, minimum: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let upstream = text.rsplit(':').next().unwrap_or(text);
        upstream.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok()).take(2).collect()
    };
    numbers(version) >= numbers(minimum)
}

/// The number in a package's or program's name `lld-22`.
fn lld_number(name: &str) -> Option<u32> {
    name.strip_prefix("lld-")?.parse().ok()
}

/// The newest lld that is installed.
fn installed_lld() -> Option<String> {
    let programs = fs::read_dir("/usr/bin").ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    programs.filter(|name| lld_number(name).is_some()).max_by_key(|name| lld_number(name))
}

/// The newest lld that apt offers.
fn newest_lld() -> Result<String> {
    let offered = apt::search("^lld-[0-9]+$").into_iter().filter(|name| lld_number(name).is_some());
    offered.max_by_key(|name| lld_number(name)).context("apt offers no package lld-N: add a source that has one")
}

/// Builds the sysroot for `targets` where it is missing or was made by another compiler.
pub fn ensure_sysroot(targets: &[&str]) -> Result<()> {
    let sysroot = debian_sysroot();
    let stamp = format!("recipe {RECIPE}\n{}", output(Command::new(RUSTC).arg("-vV"))?);
    let links = links(&stamp)?;
    if has_libraries(&sysroot, &stamp, targets) && are_whole(&sysroot, &links) {
        return Ok(());
    }
    let parent = sysroot.parent().context("the data folder has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let lock = File::create(parent.join("debian-sysroot.lock"))?;
    lock.lock()?;
    if has_libraries(&sysroot, &stamp, targets) {
        return make_links(&sysroot, &links); // another setup was first, or one of Debian's programs has moved
    }
    println!("setup: builds the core library for {} into {}", targets.join(", "), sysroot.display());
    // Built beside its place and then moved there: a setup that is interrupted leaves nothing that looks complete, and the
    // next one begins anew.
    let partial = parent.join("debian-sysroot.partial");
    remove(&partial)?;
    let place = partial.join("sysroot");
    make_links(&place, &links)?;
    make_scripts(&place, &sysroot)?;
    build_core(&place, targets, &partial.join("work"))?;
    fs::write(place.join("stamp"), stamp)?;
    if sysroot.exists() {
        fs::rename(&sysroot, partial.join("old"))?;
    }
    fs::rename(place, &sysroot)?;
    remove(&partial)?;
    println!("setup: the toolchain is ready in {}", sysroot.display());
    Ok(())
}

/// Removes a folder if it is there.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Whether a sysroot has the libraries for `targets`, made by the compiler of `stamp`.
fn has_libraries(sysroot: &Path, stamp: &str, targets: &[&str]) -> bool {
    fs::read_to_string(sysroot.join("stamp")).is_ok_and(|found| found == stamp)
        && targets.iter().all(|target| has_core(&target_lib_dir(sysroot, target)))
}

/// What a sysroot has of Debian's: a place in the sysroot, and what its link leads to.
type Link = (PathBuf, PathBuf);

/// The links of a sysroot for the compiler of `stamp`.
fn links(stamp: &str) -> Result<Vec<Link>> {
    let host = stamp.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let host_dir = Path::new("lib/rustlib").join(host);
    let installed = Path::new("/usr/bin");
    let lld = installed_lld().context("lld is not installed")?;
    let mut links = vec![
        // The host's libraries are for build scripts and procedural macros.
        (host_dir.join("lib"), Path::new("/usr").join(&host_dir).join("lib")),
        (host_dir.join("bin/rust-lld"), installed.join(lld)),
    ];
    let programs = ["cargo", "cargo-clippy", "clippy-driver"].into_iter().filter(|name| installed.join(name).exists());
    links.extend(programs.map(|name| (Path::new("bin").join(name), installed.join(name))));
    Ok(links)
}

/// Whether every link is there and leads to something: an update of Debian's may take away the lld that it led to.
fn are_whole(sysroot: &Path, links: &[Link]) -> bool {
    links.iter().all(|(place, _)| sysroot.join(place).exists())
}

/// Makes the links that are missing or lead nowhere.
fn make_links(sysroot: &Path, links: &[Link]) -> Result<()> {
    for (place, target) in links {
        let link = sysroot.join(place);
        if link.exists() {
            continue;
        }
        if link.is_symlink() {
            println!("setup: {} led nowhere, now it leads to {}", place.display(), target.display());
            fs::remove_file(&link)?;
        } else if let Some(dir) = link.parent() {
            fs::create_dir_all(dir)?;
        }
        symlink(target, &link).with_context(|| format!("cannot make the link {}", link.display()))?;
    }
    Ok(())
}

/// Makes the compilers of the sysroot at `place`, which will be used at `home`: Debian's, told where its libraries are.
fn make_scripts(place: &Path, home: &Path) -> Result<()> {
    let home = home.to_string_lossy().replace('\'', r"'\''");
    let bin = place.join("bin");
    fs::create_dir_all(&bin)?;
    for (name, program) in [("rustc", RUSTC), ("rustdoc", "/usr/bin/rustdoc")] {
        let script = bin.join(name);
        fs::write(&script, format!("#!/bin/sh\nexec {program} --sysroot '{home}' \"$@\"\n"))?;
        make_executable(&script)?;
    }
    Ok(())
}

/// Builds `core` and `alloc` from Debian's library source.
fn build_core(sysroot: &Path, targets: &[&str], work: &Path) -> Result<()> {
    fs::create_dir_all(work)?;
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[lib]\npath = \"lib.rs\"\n\
                    [workspace]\n[profile.release]\nopt-level = 3\ncodegen-units = 1\n";
    fs::write(work.join("Cargo.toml"), manifest)?;
    fs::write(work.join("lib.rs"), "#![no_std]\n")?;
    let target_dir = work.join("target");
    let mut cargo = ocelli_firmware_tools::toolchain::clean(CARGO);
    cargo.current_dir(work).args(["build", "--quiet", "--release", "-Zbuild-std=core,alloc"]);
    for target in targets {
        cargo.args(["--target", target]);
    }
    // -Z options on a stable compiler, as rustc's own build has them; bitcode lets the firmware use lto.
    cargo.env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Cembed-bitcode=yes");
    run(cargo.arg("--target-dir").arg(&target_dir)).context("building the core library failed")?;
    for target in targets {
        let to = target_lib_dir(sysroot, target);
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(target_dir.join(target).join("release/deps"))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let wanted = ["libcore-", "liballoc-", "libcompiler_builtins-"].iter().any(|start| name.starts_with(start));
            if wanted && name.ends_with(".rlib") {
                fs::copy(entry.path(), to.join(&*name))?;
            }
        }
        if !has_core(&to) {
            bail!("building the core library for {target} gave no libcore");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_versions_compare_as_numbers() {
        assert!(at_least("1.96.0+dfsg1-1~deb12u2", "1.95"));
        assert!(at_least("1.95.0", "1.95"));
        assert!(at_least("1:2.0.0-1", "1.95"));
        assert!(!at_least("1.85.0+dfsg3-1~deb12u3", "1.95"));
        assert!(!at_least("1.63.0+dfsg1-2", "1.95"));
    }

    #[test]
    fn the_newest_lld_is_that_of_the_largest_number() {
        let names = ["lld-9", "lld-22", "lld-13", "lld-link", "lld"];
        assert_eq!(names.into_iter().filter(|n| lld_number(n).is_some()).max_by_key(|n| lld_number(n)), Some("lld-22"));
    }
    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_made_anew() {
        let dir = std::env::temp_dir().join(format!("ocelli-links-{}", std::process::id()));
        remove(&dir).unwrap();
        fs::create_dir_all(&dir).unwrap();
        let (old, new) = (dir.join("lld-13"), dir.join("lld-22"));
        fs::write(&new, "").unwrap();
        let sysroot = dir.join("sysroot");
        make_links(&sysroot, &[("bin/rust-lld".into(), old)]).unwrap();

        let links = [("bin/rust-lld".into(), new.clone())];
        assert!(!are_whole(&sysroot, &links));
        make_links(&sysroot, &links).unwrap();
        assert!(are_whole(&sysroot, &links));
        assert_eq!(fs::read_link(sysroot.join("bin/rust-lld")).unwrap(), new);
        remove(&dir).unwrap();
    }
}
