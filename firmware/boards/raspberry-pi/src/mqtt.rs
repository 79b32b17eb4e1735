//! Results to an MQTT broker: the newest one, whenever the label changes or some time has passed. A broker that is away is waited for.

use crate::backoff::Backoff;
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, QoS};
use std::time::Duration;
use tokio::sync::watch;

/// Bytes that a message may have.
const MOST_BYTES: usize = 256 << 10;
/// Requests that may wait.
const WAITING: usize = 4;

/// The broker, and what is sent there.
#[derive(Clone, Debug)]
pub struct Options {
    /// The broker's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Topic of the results; `/status` below it tells `online` or `offline`.
    pub topic: String,
    /// Name and password.
    pub login: Option<(String, String)>,
    /// How long to wait after a failure.
    pub backoff: Backoff,
}

/// Sends results until `results` has no sender any more. What happens is said to `say`.
pub async fn serve(options: Options, results: watch::Receiver<String>, say: impl Fn(String)) {
    let name = format!("MQTT broker {}:{}", options.host, options.port);
    let mut mqtt = MqttOptions::new(client_id(), &options.host, options.port);
    mqtt.set_keep_alive(Duration::from_secs(15)).set_max_packet_size(MOST_BYTES, MOST_BYTES);
    let status = format!("{}/status", options.topic);
    mqtt.set_last_will(LastWill::new(&status, "offline", QoS::AtLeastOnce, true));
    if let Some((user, password)) = &options.login {
        mqtt.set_credentials(user, password);
    }
    let (client, events) = AsyncClient::new(mqtt, WAITING);
    let (sender, connected) = watch::channel(0_u64);
    let mut until = results.clone();
    let ended = async { while until.changed().await.is_ok() {} };
    tokio::select! {
        () = poll(events, &sender, options.backoff, &name, &say) => {}
        () = ended => {} // while the broker is away, too
        () = publish(&client, &options.topic, &status, results, connected) => {}
    }
}

/// Keeps the connection. `connected` counts connections; it is odd while there is one.
async fn poll(
    mut events: EventLoop,
    connected: &watch::Sender<u64>,
    mut backoff: Backoff,
    name: &str,
    say: &impl Fn(String),
) {
    let is_up = |count: u64| count % 2 == 1;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                backoff.reset();
                connected.send_modify(|count| *count += u64::from(!is_up(*count)));
                say(format!("{name}: connected"));
            }
            Ok(_) => {}
            Err(error) => {
                connected.send_modify(|count| *count += u64::from(is_up(*count)));
                let wait = backoff.wait();
                say(format!("{name}: {error}; the next try is in {} s", wait.as_secs_f64()));
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Sends the newest result whenever there is one and a connection.
async fn publish(
    client: &AsyncClient,
    topic: &str,
    status: &str,
    mut results: watch::Receiver<String>,
    mut connected: watch::Receiver<u64>,
) {
    let mut greeted = 0;
    loop {
        let Ok(connection) = connected.wait_for(|count| count % 2 == 1).await.map(|count| *count) else { return };
        if connection != greeted {
            greeted = connection;
            if client.publish(status, QoS::AtLeastOnce, true, "online").await.is_err() {
                return;
            }
            results.mark_changed(); // a broker that was away may have forgotten
        }
        let changed = tokio::select! {
            changed = results.changed() => changed,
            _ = connected.changed() => continue,
        };
        if changed.is_err() {
            return;
        }
        let result = results.borrow_and_update().clone();
        if !result.is_empty() && client.publish(topic, QoS::AtMostOnce, true, result).await.is_err() {
            return;
        }
    }
}

/// A name that no other client has: a broker ends the connection of a client whose name comes again. At most 23 letters (MQTT 3.1.1, section
/// 3.1.3.1). Numbers of processes are no names: on two devices that start alike they are the same.
fn client_id() -> String {
    let mut bytes = [0_u8; 6];
    if getrandom::fill(&mut bytes).is_err() {
        bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    }
    bytes.iter().fold("ocelli-pi-".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// A packet as MQTT 3.1.1 has it (sections 2.2 and 3): its first byte and what follows the length.
    fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        let (kind, mut length, mut shift) = (byte[0], 0, 0);
        loop {
            stream.read_exact(&mut byte).ok()?;
            length |= usize::from(byte[0] & 127) << shift;
            shift += 7;
            if byte[0] < 128 {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        Some((kind, body))
    }

    /// Text with its length before it, and what is behind.
    fn text(body: &[u8]) -> (String, &[u8]) {
        let (length, rest) = body.split_at(2);
        let (text, rest) = rest.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])));
        (String::from_utf8(text.to_vec()).unwrap(), rest)
    }

    /// A message: its topic, its text, and whether it is retained.
    type Message = (String, String, bool);

    /// A broker for one connection, which it closes once it has all of `wanted`: what it got.
    fn broker(listener: &TcpListener, wanted: &[Message]) -> (Vec<u8>, Vec<Message>) {
        let mut stream = listener.accept().unwrap().0;
        let (kind, connect) = packet(&mut stream).unwrap();
        assert_eq!(kind, 0x10, "CONNECT");
        stream.write_all(&[0x20, 2, 0, 0]).unwrap(); // CONNACK
        let mut messages = Vec::new();
        while !wanted.iter().all(|message| messages.contains(message)) {
            let Some((kind, body)) = packet(&mut stream) else { break };
            assert_eq!(kind & 0xf0, 0x30, "PUBLISH");
            let (topic, rest) = text(&body);
            let quality = kind >> 1 & 3;
            let rest = if quality > 0 {
                stream.write_all(&[0x40, 2, rest[0], rest[1]]).unwrap(); // PUBACK
                &rest[2..]
            } else {
                rest
            };
            messages.push((topic, String::from_utf8(rest.to_vec()).unwrap(), kind & 1 == 1));
        }
        (connect, messages)
    }

    #[test]
    fn no_two_clients_have_the_same_name() {
        let names = [client_id(), client_id()];
        assert!(names[0] != names[1] && names.iter().all(|name| name.len() <= 23), "{names:?}");
    }

    #[test]
    fn results_arrive_again_after_the_broker_was_away() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = Options {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            topic: "door".to_owned(),
            login: Some(("pi".to_owned(), "secret".to_owned())),
            backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(10)),
        };
        let (results, receiver) = watch::channel(String::new());
        let (said, heard) = std::sync::mpsc::channel();
        let client = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(options, receiver, move |text| said.send(text).unwrap()));
        });
        let online = ("door/status".to_owned(), "online".to_owned(), true);
        let of = |label: &str| ("door".to_owned(), format!("{{\"label\":\"{label}\"}}"), true);
        let (cat, dog) = (of("cat"), of("dog"));
        results.send(cat.1.clone()).unwrap();
        let (connect, messages) = broker(&listener, &[online.clone(), cat.clone()]);
        assert_eq!(messages, [online.clone(), cat.clone()]);
        let (protocol, rest) = text(&connect);
        assert_eq!((protocol.as_str(), rest[0]), ("MQTT", 4));
        let (_, rest) = text(&rest[4..]); // after version, flags and two bytes of keep-alive
        let (will_topic, rest) = text(rest);
        let (will, rest) = text(rest);
        let (user, rest) = text(rest);
        assert_eq!([will_topic, will, user, text(rest).0], ["door/status", "offline", "pi", "secret"]);

        // the connection is closed now; what is newest then is sent over the next one
        while !heard.recv().unwrap().contains("the next try") {}
        results.send(dog.1.clone()).unwrap();
        let (_, messages) = broker(&listener, &[online, dog]);
        assert!(!messages.contains(&cat), "{messages:?}");
        drop(results);
        drop(listener);
        client.join().unwrap();
    }
}
