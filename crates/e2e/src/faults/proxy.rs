//! A network and a server that misbehave, between a merger and a real database.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing: it goes to the database, and the answer back.
    None,
    /// The connection is closed at once.
    Closed,
    /// No answer.
    Hanging,
    /// The answer ends before it begins, and the other half of the connection stays open.
    HalfClosed,
    /// The answer ends in its first line.
    BrokenAnswer,
    /// The database has it, and the answer gets lost.
    LostAnswer,
    /// The answer comes byte by byte, so long after each other.
    Slow(Duration),
    /// The database never hears of it, and this is the answer.
    Status(u16),
}

/// It stops when it is dropped; its connections break.
#[derive(Debug)]
pub(super) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    database: SocketAddr,
    fault: Mutex<Fault>,
    ends: Mutex<bool>,
    requests: AtomicU64,
    faulty: AtomicU64,
}

impl Proxy {
    /// Starts one before the database at `url`.
    ///
    /// # Panics
    /// When no port is free, or the address is not one.
    pub(super) fn start(url: &str) -> Self {
        let database = url.trim_start_matches("http://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            database,
            fault: Mutex::new(Fault::None),
            ends: Mutex::new(false),
            requests: AtomicU64::new(0),
            faulty: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.has_ended() {
                    return;
                }
                let shared = Arc::clone(&shared);
                // Who breaks off is not at fault.
                thread::spawn(move || drop(shared.serve(client)));
            }
        });
        Self { address, state }
    }

    /// Its base address.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this to all requests from now on, those that wait too.
    pub(super) fn set(&self, fault: Fault) {
        *lock(&self.state.fault) = fault;
    }

    /// Requests so far, and those to which something happened.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.state.requests.load(Ordering::Relaxed), self.state.faulty.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        *lock(&self.state.ends) = true;
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn fault(&self) -> Fault {
        *lock(&self.fault)
    }

    fn has_ended(&self) -> bool {
        *lock(&self.ends)
    }

    /// One connection. It is kept only as long as canned answers go out.
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        loop {
            if self.fault() == Fault::Closed {
                self.faulty.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            let Some(request) = read_request(&mut client)? else { return Ok(()) };
            self.requests.fetch_add(1, Ordering::Relaxed);
            let fault = self.fault();
            self.faulty.fetch_add(u64::from(fault != Fault::None), Ordering::Relaxed);
            match fault {
                Fault::None => return client.write_all(&self.ask(&request)?),
                Fault::Closed => return Ok(()),
                Fault::Hanging => return self.wait_for_change(fault),
                Fault::HalfClosed => {
                    client.shutdown(Shutdown::Write)?;
                    return self.wait_for_change(fault);
                }
                Fault::BrokenAnswer => return client.write_all(b"HTTP/1.1 204 No Con"),
                Fault::LostAnswer => {
                    self.ask(&request)?;
                    return Ok(());
                }
                Fault::Slow(pause) => {
                    for byte in self.ask(&request)? {
                        thread::sleep(pause);
                        client.write_all(&[byte])?;
                    }
                    return Ok(());
                }
                Fault::Status(status) => {
                    let words = format!("the test says {status}");
                    let retry = if status == 429 { "Retry-After: 0\r\n" } else { "" };
                    let length = words.len();
                    write!(client, "HTTP/1.1 {status} No\r\n{retry}Content-Length: {length}\r\n\r\n{words}")?;
                }
            }
        }
    }

    fn wait_for_change(&self, fault: Fault) -> io::Result<()> {
        while self.fault() == fault && !self.has_ended() {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Asks the database on a connection of its own, and returns the whole answer.
    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.database)?;
        server.set_nodelay(true)?;
        let end = request.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (line, rest) = request.split_at(end);
        server.write_all(line)?;
        server.write_all(b"Connection: close\r\n")?;
        server.write_all(rest)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// Head and body; `None` at the end of the connection.
fn read_request(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut request = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        if let Some(head) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let length = head + 4 + content_length(&request[..head]);
            if request.len() >= length {
                return Ok(Some(request));
            }
        }
        match client.read(&mut piece)? {
            0 => return Ok(None),
            count => request.extend_from_slice(&piece[..count]),
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|length| length.trim().parse().ok()).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
