//! The program is killed, or told to end, at random moments under load, while the destination is down half of the time.

use std::{sync::Arc, thread, time::Duration};

use crate::faults::{
    Context, Judged,
    dice::Dice,
    ledger::Ledger,
    load::{Sender, Shape, finish, under_load},
    merger::{Program, SOURCES, metric, wait_until_done},
    proxy::{Fault, Proxy},
};

const DOWN: [Fault; 6] = [
    Fault::Closed,
    Fault::Hanging,
    Fault::HalfClosed,
    Fault::BrokenAnswer,
    Fault::LostAnswer,
    Fault::Status(503),
];
const PACE: Duration = Duration::from_millis(10);

pub(super) fn kills(context: &Context<'_>, case: &str) -> Judged {
    let mut dice = Dice::new(context.options.seed);
    let proxy = Proxy::start(&context.database.url());
    let mut program = Program::new(&context.folder(case), &proxy.url(), "");
    let ledger = Arc::new(Ledger::default());
    let senders = SOURCES.iter().map(|source| Sender::new(&program.url(), Shape::new(case, source), &ledger));
    let senders = senders.collect();
    let (mut killed, mut terminated, mut downs) = (0, 0, 0);
    let (mut senders, done) = under_load(senders, PACE, || {
        for _ in 0..context.options.kills {
            let is_down = dice.coin();
            downs += u64::from(is_down);
            proxy.set(if is_down { dice.pick(&DOWN) } else { Fault::None });
            program.start()?;
            thread::sleep(Duration::from_millis(dice.below(400)));
            if dice.below(4) == 0 {
                terminated += 1;
                program.terminate()?;
            } else {
                killed += 1;
                program.kill();
            }
        }
        Ok::<_, String>(())
    });
    done?;
    proxy.set(Fault::None);
    program.start()?;
    finish(&mut senders, Duration::from_secs(60))?;
    wait_until_done(&program.url(), Duration::from_secs(180), || false)?;
    let letters = metric(&program.url(), "dead_letter_records")?;
    if letters > 0.0 {
        return Err(format!("{letters} dead letters, of data that nobody has a reason to refuse"));
    }
    let requests: u64 = senders.iter().map(Sender::done).sum();
    let balance = context.database.balance(case, &ledger)?;
    let note = format!(
        "{killed} times killed, {terminated} times ended, destination down {downs} times, {requests} requests"
    );
    Ok((balance, note))
}
