//! Memory that a training gives back is memory it asks for again at once.

/// Makes glibc's allocator keep what is freed, by starting the process anew with the variables that say so; elsewhere nothing.
///
/// A step frees and allocates the same large tensors over and over. By default each is mapped anew, and the kernel hands out and clears its
/// pages: a quarter of a training's time, for the same peak. Variables that the user has set are left alone.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep() {
    use std::env;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    // mallopt(3); one arena, as others are mapped whatever these say
    const KEEP: [(&str, &str); 3] =
        [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_MAX_", "0"), ("MALLOC_TRIM_THRESHOLD_", "1099511627776")];
    let set = |name: &str| env::var_os(name).is_some();
    if set("GLIBC_TUNABLES") || KEEP.iter().any(|(name, _)| set(name)) {
        return;
    }
    let mut arguments = env::args_os();
    if let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) {
        // comes back only where it cannot: then the training is slower, no more
        let _ = Command::new(program).arg0(name).args(arguments).envs(KEEP).exec();
    }
}

/// Elsewhere nothing.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep() {}
