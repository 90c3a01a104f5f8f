//! A mirror of Maven Central on this machine: serves the jars of the shared cache, well or badly.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::testbed::{fill_shared_cache, shared_cache};

/// How the mirror answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// With the jar that is asked for.
    Right,
    /// With something else for every address that ends so.
    Damages(String),
    /// Rightly so many times, then not at all until it behaves otherwise.
    HangsAfter(usize),
}

/// The mirror; it serves until the test ends.
#[derive(Debug, Clone)]
pub struct Mirror {
    address: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    /// File names that were asked for, in order.
    asked: Vec<String>,
    /// File names that were answered in full, in order.
    served: Vec<String>,
}

impl Mirror {
    /// Starts one that behaves.
    ///
    /// # Panics
    /// When no port is free.
    pub fn start() -> Self {
        fill_shared_cache();
        let jars: BTreeMap<String, PathBuf> = fs::read_dir(shared_cache().join("jars"))
            .expect("the shared cache has jars")
            .flatten()
            .flat_map(|set| fs::read_dir(set.path()).into_iter().flatten().flatten())
            .filter_map(|entry| Some((entry.file_name().to_str()?.to_owned(), entry.path())))
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let state = State { behaviour: Behaviour::Right, asked: Vec::new(), served: Vec::new() };
        let mirror = Self { address, state: Arc::new((Mutex::new(state), Condvar::new())) };
        let (server, jars) = (mirror.clone(), Arc::new(jars));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, jars) = (server.clone(), Arc::clone(&jars));
                // A client that was killed is no fault of the mirror.
                thread::spawn(move || drop(server.answer(stream, &jars)));
            }
        });
        mirror
    }

    /// Its base address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Changes how it answers, those who wait too.
    pub fn behave(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
        self.state.1.notify_all();
    }

    /// File names that were asked for so far, in order.
    pub fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    /// File names that were answered so far, in order.
    pub fn served(&self) -> Vec<String> {
        self.lock().served.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, stream: TcpStream, jars: &BTreeMap<String, PathBuf>) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let path = first.split_whitespace().nth(1).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut state = self.lock();
        state.asked.push(name.clone());
        while matches!(state.behaviour, Behaviour::HangsAfter(limit) if state.served.len() >= limit) {
            state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let is_damaged = matches!(&state.behaviour, Behaviour::Damages(end) if name.ends_with(end.as_str()));
        let body = match jars.get(&name) {
            _ if is_damaged => b"this is something else".to_vec(),
            Some(jar) => fs::read(jar)?,
            None => Vec::new(),
        };
        let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
        state.served.push(name);
        drop(state);
        let mut stream = stream;
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
        stream.write_all(&body)
    }
}
