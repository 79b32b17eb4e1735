//! Networks and data sets fetched from a server of this machine that misbehaves as servers do: cut transfers, no ranges, wrong files,
//! redirects.

use crate::commands::{ocelli, refused};
use crate::support::repository;
use ocelli_host::collection::sha256;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// A request: the path, and the byte from which on the file is asked for.
type Request = (String, Option<usize>);

/// A server that answers each request as `answer` says: the bytes to send before it hangs up, by path, first byte, and how many requests for
/// this path came before.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(answer: impl Fn(&str, Option<usize>, usize) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().take(100) {
                let mut stream = stream.unwrap();
                let (path, from) = request(&mut stream);
                let before = log.lock().unwrap().iter().filter(|(other, _): &&Request| *other == path).count();
                log.lock().unwrap().push((path.clone(), from));
                let _ = stream.write_all(&answer(&path, from, before)); // a client that had enough may hang up
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn request(stream: &mut TcpStream) -> Request {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let range = head.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    (path, range.map(|range| range.trim_end_matches('-').parse().unwrap()))
}

/// The answer of a server that knows ranges.
fn part(file: &[u8], from: Option<usize>) -> Vec<u8> {
    let Some(from) = from else { return whole(file) };
    if from >= file.len() {
        return b"HTTP/1.1 416 Range Not Satisfiable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_vec();
    }
    let range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Range: {range}\r\nContent-Length: {}\r\n\r\n",
        file.len() - from
    );
    [head.as_bytes(), &file[from..]].concat()
}

fn whole(file: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", file.len());
    [head.as_bytes(), file].concat()
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// An answer that breaks off `missing` bytes before its end.
fn cut(mut answer: Vec<u8>, missing: usize) -> Vec<u8> {
    answer.truncate(answer.len() - missing);
    answer
}

/// The file that the catalogue means: 300,000 bytes that look like noise.
fn file() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Writes a catalogue with one entry for `file`, at the given addresses.
fn catalogue(at: &Path, file: &[u8], addresses: &[String]) {
    let text = format!(
        "[[entry]]\nname = \"thing\"\nkind = \"network\"\ntask = \"t\"\nlicence = \"MIT\"\nsource = \"this test\"\n\
         [[entry.file]]\nname = \"thing.bin\"\nbytes = {}\nsha256 = \"{}\"\naddresses = {addresses:?}\n",
        file.len(),
        sha256(file)
    );
    fs::write(at.join("catalogue.toml"), text).unwrap();
}

fn fetch(at: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
    command.args(["models", "fetch", "thing", "--catalogue", "catalogue.toml", "--out", "out"]).current_dir(at);
    command.output().unwrap()
}

fn fetched(at: &Path) -> String {
    let output = fetch(at);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().next(), Some("out/thing.bin"));
    assert_eq!(names(&at.join("out")), ["thing.bin"]);
    said
}

fn failed(at: &Path) -> String {
    let output = fetch(at);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!at.join("out/thing.bin").exists());
    said
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_cut_transfer_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // cut twice, with and without the head of an answer before
    let server = Server::start(|_, from, before| match before {
        0 => cut(part(&file(), from), 200_000),
        1 => cut(part(&file(), from), 50_000),
        2 => Vec::new(),
        _ => part(&file(), from),
    });
    catalogue(at, &file(), &[format!("{}/file", server.address)]);
    let said = fetched(at);
    assert_eq!(fs::read(at.join("out/thing.bin")).unwrap(), file());
    assert!(said.contains("goes on after 100,000 bytes") && said.contains("goes on after 250,000 bytes"), "{said}");
    let asked: Vec<Option<usize>> = server.requests().into_iter().map(|(_, from)| from).collect();
    assert_eq!(asked, [None, Some(100_000), Some(250_000), Some(250_000)]);
    // a second time nothing is asked for
    assert!(fetched(at).contains("there already, checksum right"));
    assert_eq!(server.requests().len(), 4);
    fs::write(at.join("out/thing.bin"), b"another").unwrap();
    let output = fetch(at);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("remove it first"), "{said}");
    assert_eq!(fs::read(at.join("out/thing.bin")).unwrap(), b"another");
}

#[test]
fn the_next_command_goes_on_with_a_transfer_that_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let server = Server::start(|_, from, before| match before {
        0 => cut(part(&file(), from), 1),
        1..=4 => Vec::new(),
        _ => part(&file(), from),
    });
    catalogue(at, &file(), &[format!("{}/file", server.address)]);
    let said = failed(at);
    assert!(said.contains("thing.bin cannot be fetched") && said.contains("--from"), "{said}");
    assert_eq!(fs::read(at.join("out/thing.bin.part")).unwrap(), file()[..299_999]);
    assert!(fetched(at).contains("goes on after 299,999 bytes"));
    assert_eq!(server.requests().last().unwrap().1, Some(299_999));
    // the beginning of another file: found out at the end, and all is fetched once more
    fs::remove_file(at.join("out/thing.bin")).unwrap();
    fs::write(at.join("out/thing.bin.part"), vec![7; 1000]).unwrap();
    assert!(fetched(at).contains("an earlier transfer does not fit"));
    assert_eq!(fs::read(at.join("out/thing.bin")).unwrap(), file());
    // more than there is of it
    fs::remove_file(at.join("out/thing.bin")).unwrap();
    fs::write(at.join("out/thing.bin.part"), vec![7; 300_001]).unwrap();
    fetched(at);
}

#[test]
fn a_server_without_ranges_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let server = Server::start(|_, _, before| if before == 0 { cut(whole(&file()), 1000) } else { whole(&file()) });
    catalogue(at, &file(), &[format!("{}/file", server.address)]);
    fetched(at);
    assert_eq!(fs::read(at.join("out/thing.bin")).unwrap(), file());
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn files_that_are_not_meant_are_refused_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let server = Server::start(|path, from, _| {
        let mut other = file();
        other[150_000] ^= 1;
        match path {
            "/other" => part(&other, from),
            "/short" => part(&file()[..299_999], from),
            "/long" => part(&[file(), vec![0]].concat(), from),
            // without its length: it is over when the server hangs up
            "/endless" => [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), file(), file()].concat(),
            "/right" => part(&file(), from),
            _ => b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngone".to_vec(),
        }
    });
    let address = |path: &str| format!("{}{path}", server.address);
    for (path, expected) in [
        ("/other", "its SHA-256 is "),
        ("/other", "was removed"),
        ("/short", "has 299999 bytes, the catalogue says 300000"),
        ("/long", "has 300001 bytes, the catalogue says 300000"),
        ("/endless", "the catalogue says 300000"),
        ("/missing", "the server answers 404 Not Found"),
    ] {
        catalogue(at, &file(), &[address(path)]);
        let said = failed(at);
        assert!(said.contains(expected) && said.contains(&address(path)), "{path}: {said}");
        assert!(!at.join("out").exists(), "{path} leaves nothing, not even the folder");
    }
    // another address has it
    catalogue(at, &file(), &[address("/missing"), address("/other"), address("/right")]);
    fetched(at);
    assert_eq!(fs::read(at.join("out/thing.bin")).unwrap(), file());
}

#[test]
fn redirects_are_followed_to_https_and_this_machine_only() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let server = Server::start(|path, from, before| match path {
        "/a/start" => redirect("../a/next"),
        "/a/../a/next" => redirect("/right"),
        "/right" if before == 0 => cut(part(&file(), from), 100),
        "/right" => part(&file(), from),
        "/out" => redirect("http://example.org/file"),
        "/file" => redirect("file:///etc/passwd"),
        _ => redirect("/circle"),
    });
    for (path, expected) in [
        ("/out", "http://example.org/file is refused: only https"),
        ("/file", "file:///etc/passwd"),
        ("/circle", "without end"),
    ] {
        catalogue(at, &file(), &[format!("{}{path}", server.address)]);
        let said = failed(at);
        assert!(said.contains(expected), "{path}: {said}");
    }
    catalogue(at, &file(), &["http://example.org/file".to_owned()]);
    assert!(failed(at).contains("only https"));
    catalogue(at, &file(), &[format!("{}/a/start", server.address)]);
    fetched(at);
    assert!(
        server.requests().contains(&("/right".to_owned(), Some(299_900))),
        "the part is asked for behind the redirect"
    );
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_said_and_what_is_there_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let server = Server::start(|_, from, _| part(&file(), from));
    catalogue(at, &file(), &[format!("{}/file", server.address)]);
    // a limit on the size of files stands for the disk: 100 or 200 blocks of 512 or 1024 bytes
    let line = format!(
        "trap '' XFSZ; ulimit -f 200; exec '{}' models fetch thing --catalogue catalogue.toml --out out",
        env!("CARGO_BIN_EXE_ocelli")
    );
    let output = Command::new("sh").args(["-c", &line]).current_dir(at).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot write out/thing.bin.part: is the disk full"), "{said}");
    let there = fs::metadata(at.join("out/thing.bin.part")).unwrap().len();
    assert!((100 * 512..300_000).contains(&there), "{there}");
    fetched(at);
    assert_eq!(server.requests().last().unwrap().1, Some(usize::try_from(there).unwrap()));
}

#[test]
fn a_data_set_comes_from_a_folder_without_network_and_is_readable() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // the shipped digits under the names of a data set
    let digits = repository("data/mnist-10k");
    let mut text =
        "[[entry]]\nname = \"digits\"\nkind = \"data\"\ntask = \"t\"\nlicence = \"MIT\"\nsource = \"this test\"\n"
            .to_owned();
    let mut count = 0;
    for entry in fs::read_dir(&digits).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".gz") {
            continue;
        }
        let bytes = fs::read(digits.join(&name)).unwrap();
        count += 1;
        text += &format!(
            "[[entry.file]]\nname = \"{name}\"\nbytes = {}\nsha256 = \"{}\"\naddresses = [\"https://example.org/{name}\"]\n",
            bytes.len(),
            sha256(&bytes)
        );
    }
    assert_eq!(count, 4);
    fs::write(at.join("catalogue.toml"), text).unwrap();
    let from = digits.display().to_string();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli"));
        command.args(arguments).args(["--catalogue", "catalogue.toml", "--json"]).current_dir(at);
        let output = command.env("OCELLI_CACHE", at.join("cache")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    assert_eq!(run(&["models", "list"])[0]["cached"], false);
    let path = run(&["models", "fetch", "digits", "--from", &from])["path"].as_str().unwrap().to_owned();
    assert_eq!(Path::new(&path), at.join("cache/digits"));
    assert_eq!(run(&["models", "list"])[0]["cached"], true);
    let stats = ocelli(&["data", "stats", &path, "--json"], at).stdout;
    let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
    assert_eq!(stats["sets"][1]["images"], 1000, "{stats}");

    let file = format!("{from}/t10k-labels-idx1-ubyte.gz");
    let error =
        refused(&["models", "fetch", "digits", "--catalogue", "catalogue.toml", "--out", "x", "--from", &file], at);
    assert!(error.contains("digits has 4 files: give the folder"), "{error}");
    fs::create_dir(at.join("wrong")).unwrap();
    for entry in fs::read_dir(at.join("cache/digits")).unwrap() {
        let name = entry.unwrap().file_name();
        fs::write(at.join("wrong").join(name), b"other bytes").unwrap();
    }
    let error =
        refused(&["models", "fetch", "digits", "--catalogue", "catalogue.toml", "--out", "x", "--from", "wrong"], at);
    assert!(error.contains("is not the file that the catalogue means: it has 11 bytes"), "{error}");
    assert!(!at.join("x").exists());
    let error = refused(&["models", "fetch", "mnits"], at);
    assert!(error.contains("the catalogue has no \"mnits\": it has mnist, "), "{error}");
}

#[test]
fn a_file_of_an_archive_is_put_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, bytes) in [("./readme.txt", &b"words"[..]), ("./net.tflite", &file()[..])] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).unwrap();
    }
    let packed = archive.into_inner().unwrap().finish().unwrap();
    let bytes = packed.clone();
    let server = Server::start(move |_, from, _| part(&bytes, from));
    catalogue(at, &packed, &[format!("{}/file", server.address)]);
    let text = fs::read_to_string(at.join("catalogue.toml")).unwrap();
    // nor is its size known
    let text = text.lines().filter(|line| !line.starts_with("bytes")).collect::<Vec<_>>().join("\n");
    let written =
        |unpack: &str| fs::write(at.join("catalogue.toml"), format!("{text}\nunpack = \"{unpack}\"\n")).unwrap();
    written("net.tflite");
    let output = ocelli(&["models", "fetch", "thing", "--catalogue", "catalogue.toml", "--out", "out"], at);
    assert!(output.stdout.starts_with(b"out/net.tflite\n"), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(at.join("out/net.tflite")).unwrap(), file());
    written("other.tflite");
    let error = refused(&["models", "fetch", "thing", "--catalogue", "catalogue.toml", "--out", "out"], at);
    assert!(error.contains("holds no other.tflite"), "{error}");
}
