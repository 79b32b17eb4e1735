//! `ocelli worker`

use super::Verdict;
use anyhow::Context;
use ocelli_host::train::{Place, Token, new_token, serve};
use std::net::{SocketAddr, TcpListener};

/// Serve a device of this machine to trainings on others
///
/// A training elsewhere uses it with --devices remote://HOST:PORT and the same token. Only who has the token is let in. Nothing is
/// encrypted: the worker listens on this machine alone unless --bind says otherwise; across networks that others use, tunnel the port
/// (ssh -L 7744:localhost:7744 HOST). Ends with ctrl-C. Needs a build with --features remote.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7744")]
    bind: SocketAddr,
    /// The device: cpu, wgpu, wgpu:N or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: Place,
    /// What lets a training in [default: a new one, which is printed].
    #[arg(long, env = "OCELLI_TOKEN", hide_env_values = true, value_parser = parse_token)]
    token: Option<Token>,
}

pub fn parse_token(text: &str) -> Result<Token, String> {
    Token::new(text).map_err(|error| error.to_string())
}

pub fn run(args: &Args) -> anyhow::Result<Verdict> {
    let made = match args.token {
        Some(_) => None,
        None => Some(new_token()?),
    };
    let listener = TcpListener::bind(args.bind).with_context(|| format!("cannot listen on {}", args.bind))?;
    let address = listener.local_addr()?;
    println!("worker: serves {} at remote://{address}", args.device);
    if let Some(token) = &made {
        println!("token: {}", token.secret());
    }
    if !address.ip().is_loopback() {
        eprintln!(
            "warning: other machines reach this worker, and nothing is encrypted: who reads along sees the token"
        );
    }
    if let Some(token) = args.token.as_ref().or(made.as_ref()) {
        serve(listener, &args.device, token)?;
    }
    Ok(Verdict::Done)
}
