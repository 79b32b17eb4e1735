//! A device of this machine for trainings on others, over Burn's own protocol.

use super::place::{Place, Token};
use std::net::TcpListener;

/// Serves a device to all who have the token, until ctrl-C.
///
/// The token and what is computed travel as they are: use it on this machine and in networks that you trust, or through a tunnel.
///
/// # Errors
/// When this program was built without remote devices, the device cannot be opened, or the network fails.
#[cfg(feature = "remote")]
pub fn serve(listener: TcpListener, place: &Place, token: &Token) -> anyhow::Result<()> {
    use anyhow::{Context, ensure};
    use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};

    ensure!(!place.is_remote(), "{place} is served already: a worker serves a device of its own machine");
    let authorizer = TokenAuthorizer::new(token.secret()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let server = RemoteServer::new([place.open(None)?]).with_authorizer(authorizer);
    server.serve(WebSocketTransport::from_listener(listener)).context("the worker cannot serve")
}

/// Says that this program was built without remote devices.
///
/// # Errors
/// Always.
#[cfg(not(feature = "remote"))]
pub fn serve(_: TcpListener, _: &Place, _: &Token) -> anyhow::Result<()> {
    Err(super::place::not_built("devices of other machines", "remote"))
}

/// A token that nobody can guess: 128 random bits of the system in hexadecimal.
///
/// # Errors
/// When this program was built without remote devices, or the system gives no random bits.
#[cfg(feature = "remote")]
pub fn new_token() -> anyhow::Result<Token> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random bits: {error}"))?;
    Token::new(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Says that this program was built without remote devices.
///
/// # Errors
/// Always.
#[cfg(not(feature = "remote"))]
pub fn new_token() -> anyhow::Result<Token> {
    Err(super::place::not_built("devices of other machines", "remote"))
}
