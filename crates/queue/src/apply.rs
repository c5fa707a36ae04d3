//! One group of operations inside its transaction: the SQL of accept, settle and administration, and what each means for the board once the commit
//! stands. Called by the writer only. Never commits, never touches files, never changes the board itself before the commit.

use crate::board::{Board, Hot, HotBody, Next};
use crate::codec;
use crate::database::{self, Place, signed};
use crate::shared::locked;
use crate::writer::{Answer, Op, Prepared, PreparedBody, SettleOp, Writer};
use postino_ports::queue::{AdminAction, NewEntry, QueueEntry, SettleError, Settled};
use postino_types::outcome::DETAIL_BYTES_MAX;
use postino_types::{QueueId, RecipientState, ReportText, Time};
use rusqlite::{OptionalExtension, params};
use std::collections::HashMap;
use std::sync::Arc;

/// So many ids are promised to the disk at once; a start skips what was left of them.
const IDS_AHEAD: u64 = 4096;

/// What an operation came to.
pub(crate) enum Outcome {
    /// A new entry.
    Accepted(u64),
    /// A settlement.
    Settled {
        /// The answer.
        settled: Settled,
        /// The new entries: ids, places and lengths of their bodies.
        children: Vec<Child>,
        /// What happened to the settled entry.
        effect: Effect,
    },
    /// An administrator's change.
    Changed {
        /// For each entry changed.
        effects: Vec<Effect>,
    },
    /// The settlement cannot be recorded; the entry stays as it was.
    Refused(String),
}

/// An entry made by a settlement.
pub(crate) struct Child {
    id: u64,
    /// For bodies taken from the parent.
    inherited: Option<(Place, u64)>,
}

/// A change for the board.
pub(crate) enum Effect {
    /// None.
    None,
    /// States recorded.
    States(u64, Vec<RecipientState>),
    /// End of a pass: (id, next_at before, now, held).
    Released(u64, i64, Next, bool),
    /// Gone: (id, next_at before, held).
    Gone(u64, i64, bool),
    /// Held: (id, next_at before).
    Held(u64, i64),
    /// No longer held: (id, next time).
    Unheld(u64, Next),
    /// Due at another time: (id, before, now).
    Moved(u64, i64, Next),
}

/// An entry as it stands inside the transaction.
struct Current {
    states: Vec<RecipientState>,
    arrived: Time,
    next_at: i64,
    held: bool,
    place: Place,
    bytes: u64,
}

/// The group.
pub(crate) struct Group {
    pub(crate) outcomes: Vec<Outcome>,
    /// Body files that nobody refers to after the commit.
    pub(crate) unlink: Vec<i64>,
    /// Entries that are gone.
    pub(crate) lost: Vec<u64>,
    /// The promise about ids in this transaction.
    pub(crate) ids_bound: u64,
}

/// A group being filled.
pub(crate) struct Filling<'w> {
    writer: &'w mut Writer,
    group: Group,
    /// Entries changed by earlier operations of this group; `None`: gone.
    changed: HashMap<u64, Option<Vec<RecipientState>>>,
}

impl<'w> Filling<'w> {
    pub(crate) fn new(writer: &'w mut Writer) -> Self {
        let group = Group { outcomes: Vec::new(), unlink: Vec::new(), lost: Vec::new(), ids_bound: writer.ids_bound };
        Self { writer, group, changed: HashMap::new() }
    }
}

impl Filling<'_> {
    /// Writes one operation.
    pub(crate) fn apply(&mut self, op: &Op) -> rusqlite::Result<()> {
        let outcome = match op {
            Op::Accept { prepared, .. } => Outcome::Accepted(self.insert(prepared, None)?.id),
            Op::Settle { settle, .. } => self.settle(settle)?,
            Op::Admin { action, ids, .. } => self.admin(*action, ids)?,
        };
        self.group.outcomes.push(outcome);
        Ok(())
    }

    /// The end: the promise about ids, if it has to be renewed.
    pub(crate) fn finish(mut self) -> rusqlite::Result<Group> {
        if self.writer.next_id > self.group.ids_bound {
            self.group.ids_bound = self.writer.next_id + IDS_AHEAD;
            self.execute("UPDATE ids SET bound = ?1", params![signed(self.group.ids_bound)])?;
        }
        Ok(self.group)
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.writer.connection.prepare_cached(sql)?.execute(values)
    }

    fn insert(&mut self, prepared: &Prepared, parent: Option<(u64, &Current)>) -> rusqlite::Result<Child> {
        const CONTENT: &str = "INSERT INTO content(id, file, bytes, meta, body) VALUES(?1, ?2, ?3, ?4, ?5)";
        const SHARED: &str = "INSERT INTO content(id, file, bytes, meta, body) SELECT ?1, file, bytes, ?2, body FROM content WHERE id = ?3";
        const ENTRY: &str = "INSERT INTO entry(id, next_at, held, arrived, state) VALUES(?1, ?2, 0, ?2, x'')";
        let id = self.writer.next_id;
        self.writer.next_id += 1;
        let mut inherited = None;
        match (&prepared.body, parent) {
            (PreparedBody::Inline(body, _), _) => {
                let none: Option<i64> = None;
                self.execute(CONTENT, params![signed(id), none, signed(body.len() as u64), prepared.meta, &body[..]])?;
            }
            (PreparedBody::File { pending, bytes }, _) => {
                let empty: &[u8] = b"";
                self.execute(CONTENT, params![signed(id), pending.number, signed(*bytes), prepared.meta, empty])?;
            }
            (PreparedBody::Parent, Some((parent, current))) => {
                let rows = self.execute(SHARED, params![signed(id), prepared.meta, signed(parent)])?;
                if rows != 1 {
                    return Err(rusqlite::Error::QueryReturnedNoRows);
                }
                inherited = Some((current.place, current.bytes));
            }
            (PreparedBody::Parent, None) => return Err(rusqlite::Error::InvalidQuery),
        }
        self.execute(ENTRY, params![signed(id), prepared.entry.arrived.0])?;
        Ok(Child { id, inherited })
    }

    fn settle(&mut self, settle: &SettleOp) -> rusqlite::Result<Outcome> {
        let id = settle.id.0;
        let mut current = match self.current(id)? {
            Ok(Some(current)) => current,
            Ok(None) => {
                let settled = Settled { new: Vec::new(), finished: true };
                return Ok(Outcome::Settled { settled, children: Vec::new(), effect: Effect::None });
            }
            Err(text) => return Ok(Outcome::Refused(text)),
        };
        let mut applied = false;
        for (index, state) in &settle.changes {
            let Some(slot) = current.states.get_mut(*index) else {
                return Ok(Outcome::Refused(format!("entry {id} has no recipient {index}")));
            };
            // Q-ONCE: a recipient leaves Pending once; what is final stays.
            if slot.is_pending() {
                *slot = capped(state);
                applied = true;
            }
        }
        // A settlement all of whose changes stand already is a repetition: its new messages were made the first time.
        let repeated = !applied && !settle.changes.is_empty();
        let mut children = Vec::new();
        if !repeated {
            for prepared in &settle.new {
                children.push(self.insert(prepared, Some((id, &current)))?);
            }
        }
        let finished = !current.states.iter().any(RecipientState::is_pending);
        let effect = if finished {
            self.delete(id, current.place)?;
            Effect::Gone(id, current.next_at, current.held)
        } else {
            self.update(settle, current, applied)?
        };
        let new = children.iter().map(|child| QueueId(child.id)).collect();
        Ok(Outcome::Settled { settled: Settled { new, finished }, children, effect })
    }

    fn update(&mut self, settle: &SettleOp, current: Current, applied: bool) -> rusqlite::Result<Effect> {
        let id = settle.id.0;
        let next = settle.release.map(|due| Next::new(due, current.arrived));
        let next_at = next.map_or(current.next_at, |next| next.row);
        match (applied, settle.release) {
            (true, _) => {
                let state = codec::encode_states(&current.states);
                self.execute("UPDATE entry SET next_at = ?2, state = ?3 WHERE id = ?1", params![signed(id), next_at, state])?;
                self.changed.insert(id, Some(current.states.clone()));
            }
            (false, Some(_)) => {
                self.execute("UPDATE entry SET next_at = ?2 WHERE id = ?1", params![signed(id), next_at])?;
            }
            (false, None) => return Ok(Effect::None),
        }
        Ok(match next {
            Some(next) => Effect::Released(id, current.next_at, next, current.held),
            None => Effect::States(id, current.states),
        })
    }

    fn delete(&mut self, id: u64, place: Place) -> rusqlite::Result<()> {
        self.execute("DELETE FROM entry WHERE id = ?1", params![signed(id)])?;
        self.execute("DELETE FROM content WHERE id = ?1", params![signed(id)])?;
        if let Place::File(file) = place
            && !database::is_referenced(&self.writer.connection, file)?
        {
            self.group.unlink.push(file);
        }
        self.changed.insert(id, None);
        self.group.lost.push(id);
        Ok(())
    }

    /// The entry as this transaction sees it; the inner error is a record that cannot be read.
    fn current(&self, id: u64) -> rusqlite::Result<Result<Option<Current>, String>> {
        let earlier = self.changed.get(&id);
        if let Some(None) = earlier {
            return Ok(Ok(None));
        }
        let flight = locked(&self.writer.shared.board).flight(id).cloned();
        let mut current = match flight {
            Some(flight) => Current {
                states: flight.states().to_vec(),
                arrived: flight.entry.arrived,
                next_at: flight.entry.next_at.0,
                held: false,
                place: flight.place,
                bytes: flight.entry.body_bytes,
            },
            None => match database::load(&self.writer.connection, id)? {
                None => return Ok(Ok(None)),
                Some(Err(damaged)) => return Ok(Err(format!("entry {id}: {damaged}"))),
                Some(Ok((entry, place))) => Current {
                    arrived: entry.arrived,
                    next_at: entry.next_at.0,
                    held: entry.held,
                    place,
                    bytes: entry.body_bytes,
                    states: entry.states,
                },
            },
        };
        if let Some(Some(states)) = earlier {
            current.states.clone_from(states);
        }
        Ok(Ok(Some(current)))
    }

    fn admin(&mut self, action: AdminAction, ids: &[u64]) -> rusqlite::Result<Outcome> {
        let now = self.writer.shared.options.clock.now();
        let mut effects = Vec::new();
        for &id in ids {
            let row = self.row(id)?;
            let Some((before, held, arrived)) = row else { continue };
            let next = Next::new(now, Time(arrived));
            match action {
                AdminAction::Hold if !held => {
                    self.execute("UPDATE entry SET held = 1 WHERE id = ?1", params![signed(id)])?;
                    effects.push(Effect::Held(id, before));
                }
                AdminAction::Release if held => {
                    self.execute("UPDATE entry SET held = 0, next_at = ?2 WHERE id = ?1", params![signed(id), next.row])?;
                    effects.push(Effect::Unheld(id, next));
                }
                AdminAction::Retry => {
                    self.execute("UPDATE entry SET next_at = ?2 WHERE id = ?1", params![signed(id), next.row])?;
                    effects.push(if held { Effect::None } else { Effect::Moved(id, before, next) });
                }
                AdminAction::Remove => {
                    let place = database::place(&self.writer.connection, id)?.map_or(Place::Inline, |(place, _)| place);
                    self.delete(id, place)?;
                    effects.push(Effect::Gone(id, before, held));
                }
                AdminAction::Hold | AdminAction::Release => {}
            }
        }
        Ok(Outcome::Changed { effects })
    }

    fn row(&self, id: u64) -> rusqlite::Result<Option<(i64, bool, i64)>> {
        let mut statement = self.writer.connection.prepare_cached("SELECT next_at, held, arrived FROM entry WHERE id = ?1")?;
        statement.query_row(params![signed(id)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()
    }
}

/// Reports are kept short, whoever wrote them.
fn capped(state: &RecipientState) -> RecipientState {
    let cut = |text: &ReportText| text.cut(DETAIL_BYTES_MAX);
    match state {
        RecipientState::Pending { attempts, last, delay_told } => RecipientState::Pending {
            attempts: *attempts,
            last: last.as_ref().map(|(status, text)| (*status, cut(text))),
            delay_told: *delay_told,
        },
        RecipientState::Delivered { at, detail } => RecipientState::Delivered { at: *at, detail: cut(detail) },
        RecipientState::Failed { at, status, detail } => RecipientState::Failed { at: *at, status: *status, detail: cut(detail) },
    }
}

impl Outcome {
    /// The commit stands: changes the board and makes the answer.
    pub(crate) fn publish(self, op: Op, board: &mut Board) -> Answer {
        match (op, self) {
            (Op::Accept { prepared, answer }, Self::Accepted(id)) => {
                board.born(hot(id, *prepared, None));
                Answer::Accept(answer, QueueId(id))
            }
            (Op::Settle { settle, answer }, Self::Settled { settled, children, effect }) => {
                for (child, prepared) in children.into_iter().zip(settle.new) {
                    let inherited = child.inherited.map(|(place, bytes)| (inherited_body(board, settle.id.0, place), bytes));
                    board.born(hot(child.id, prepared, inherited));
                }
                effect.publish(board);
                Answer::Settle(answer, Ok(settled))
            }
            (Op::Settle { answer, .. }, Self::Refused(text)) => Answer::Settle(answer, Err(SettleError::Io(text))),
            (Op::Admin { answer, .. }, Self::Changed { effects }) => {
                let count = effects.len() as u64;
                effects.into_iter().for_each(|effect| effect.publish(board));
                Answer::Admin(answer, count)
            }
            _ => Answer::None,
        }
    }
}

/// The parent's body, from memory where it is still there.
fn inherited_body(board: &Board, parent: u64, place: Place) -> HotBody {
    match (place, board.hot(parent)) {
        (Place::File(file), _) => HotBody::File(file),
        (Place::Inline, Some(Hot { body: HotBody::Memory(bytes), .. })) => HotBody::Memory(bytes.clone()),
        (Place::Inline, _) => HotBody::Row,
    }
}

fn hot(id: u64, prepared: Prepared, inherited: Option<(HotBody, u64)>) -> Hot {
    let Prepared { entry, body, .. } = prepared;
    let (body, bytes) = match (body, inherited) {
        (PreparedBody::Inline(bytes, _), _) => {
            let len = bytes.len() as u64;
            (HotBody::Memory(bytes), len)
        }
        (PreparedBody::File { pending, bytes }, _) => {
            pending.keep();
            (HotBody::File(pending.number), bytes)
        }
        (PreparedBody::Parent, Some(inherited)) => inherited,
        (PreparedBody::Parent, None) => (HotBody::Row, 0),
    };
    let NewEntry { envelope, origin, prepend, arrived, expires } = entry;
    let states = vec![RecipientState::fresh(); envelope.recipients.len()];
    let entry = QueueEntry {
        id: QueueId(id),
        envelope,
        origin,
        prepend,
        body_bytes: bytes,
        arrived,
        expires,
        states,
        next_at: arrived,
        held: false,
    };
    Hot { entry: Arc::new(entry), body }
}

impl Effect {
    fn publish(self, board: &mut Board) {
        match self {
            Self::None => {}
            Self::States(id, states) => board.changed(id, states),
            Self::Released(id, before, next, held) => board.released(id, before, next, held),
            Self::Gone(id, before, held) => board.gone(id, before, held),
            Self::Held(id, before) => board.hold(id, before),
            Self::Unheld(id, next) => board.unhold(id, next),
            Self::Moved(id, before, next) => board.retry(id, before, next),
        }
    }
}
