//! As much of an HTTP client as the pocket site needs: one request on one connection to loopback.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const READ_LIMIT: Duration = Duration::from_secs(120);

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; names are compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Whether the site said that it is in maintenance, rather than broken in some other way.
    pub fn is_maintenance(&self) -> bool {
        self.status == 503 && self.header("Retry-After") == Some("300")
    }
}

/// Sends a request and reads the whole answer. Without a body it is a GET.
pub fn request(port: u16, path: &str, body: Option<&[u8]>) -> io::Result<Response> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
    stream.set_read_timeout(Some(READ_LIMIT))?;
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.unwrap_or_default();
    let mut message =
        format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    message.extend_from_slice(body);
    stream.write_all(&message)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other(format!("no HTTP answer: {:?}", String::from_utf8_lossy(&answer))))
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let headers = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = headers.split_whitespace().nth(1)?.parse().ok()?;
    let response = Response { status, headers, body: answer[end + 4..].to_vec() };
    // A server that dies in the middle of an answer must not be taken for one that gave a short one.
    let complete = response.header("Content-Length").is_none_or(|length| length.parse() == Ok(response.body.len()));
    complete.then_some(response)
}
