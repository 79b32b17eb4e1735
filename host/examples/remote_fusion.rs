//! Where Burn 0.22.1 stops us: with its feature `fusion`, a permuted tensor that goes on into another operator is lost on a remote device.
//!
//! The server panics ("Expected int handle, got float", burn-flex, `src/backend.rs`), and the client reads an error. Without `fusion` it
//! prints the numbers, which is why the features of this package leave `fusion` out. To see the panic, build it with that feature:
//!
//! ```text
//! cargo run --release --package ocelli-host --features remote,burn/fusion --example remote_fusion
//! ```

use burn::remote::RemoteHost;
use burn::server::{RemoteServer, WebSocketTransport};
use burn::tensor::{Device, Tensor};
use std::error::Error;
use std::net::TcpListener;

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let host = RemoteHost::websocket(&format!("ws://{}", listener.local_addr()?));
    std::thread::spawn(move || RemoteServer::new([Device::flex()]).serve(WebSocketTransport::from_listener(listener)));
    let device = Device::remote_options(&host).init()?;
    let x = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
    let y = x.permute([1, 0]).reshape([4]);
    println!("{:?}", y.try_into_data().map_err(|error| error.to_string())?.iter::<f32>().collect::<Vec<_>>());
    Ok(())
}
