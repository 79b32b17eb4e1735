//! Under which addresses another device reaches the page.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// The addresses of a page that listens at `address`, best first: for one that listens everywhere, this computer's own and its name.
#[must_use]
pub fn reachable(address: SocketAddr) -> Vec<String> {
    if !address.ip().is_unspecified() {
        return vec![address.to_string()];
    }
    let read = |path: &str| std::fs::read_to_string(Path::new("/proc").join(path)).unwrap_or_default();
    let (routes, name) = (read("net/fib_trie"), read("sys/kernel/hostname"));
    everywhere(&routes, name.trim(), address.port())
}

fn everywhere(routes: &str, name: &str, port: u16) -> Vec<String> {
    let mut hosts: Vec<String> = own_addresses(routes).iter().map(ToString::to_string).collect();
    // the name that multicast DNS gives it, as Raspberry Pi OS does
    let is_plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if is_plain {
        hosts.push(if name.contains('.') { name.to_owned() } else { format!("{name}.local") });
    }
    if hosts.is_empty() {
        hosts.push("localhost".to_owned());
    }
    hosts.into_iter().map(|host| format!("{host}:{port}")).collect()
}

/// The addresses of this computer's interfaces, out of the kernel's table of routes: an address, and in one of the lines below it that
/// it is this computer's.
fn own_addresses(routes: &str) -> Vec<Ipv4Addr> {
    let (mut found, mut last) = (Vec::new(), None);
    for line in routes.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = last
            && !address.is_loopback()
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.1 writes it, shortened.
    const ROUTES: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.7
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
           |-- 192.0.2.7
              /32 host LOCAL
           |-- 10.1.0.3
              /32 host LOCAL
";

    #[test]
    fn a_page_for_everyone_is_at_each_of_the_computers_addresses_and_its_name() {
        assert_eq!(everywhere(ROUTES, "pi", 8080), ["192.0.2.7:8080", "10.1.0.3:8080", "pi.local:8080"]);
        assert_eq!(everywhere("", "pi.example", 80), ["pi.example:80"]);
        assert_eq!(everywhere("", "", 80), ["localhost:80"]);
        assert!(reachable("0.0.0.0:80".parse().unwrap()).iter().all(|host| !host.contains("0.0.0.0")));
    }

    #[test]
    fn a_page_at_one_address_is_there() {
        assert_eq!(reachable("127.0.0.1:8080".parse().unwrap()), ["127.0.0.1:8080"]);
        assert_eq!(reachable("[::1]:80".parse().unwrap()), ["[::1]:80"]);
    }
}
