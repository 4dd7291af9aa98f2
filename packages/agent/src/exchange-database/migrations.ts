/**
 * The tables of the exchange database, as an append-only list of migrations. A migration that an older program could not
 * live with says `breaking`. What the rows mean is said here, table by table; how they are read and written is in the
 * file named after each noun.
 *
 * Conventions: identities are BLOBs of 16 bytes; times are milliseconds since 1970 UTC; flags are 0 or 1.
 */

export interface Migration {
  /** Stable name, never reused. */
  readonly id: string;
  readonly sql: string;
  /** An older program must stop when it finds this one applied. */
  readonly breaking?: boolean;
}

export const MIGRATIONS: readonly Migration[] = [
  {
    id: '0001-exchange-database',
    sql: `
-- meta: single facts about this file (its identity, the last fencing token, the cached snapshot).
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- capture: one row per bridge captured here. What the last scans did and whether a person must act.
CREATE TABLE capture (
  bridge           BLOB PRIMARY KEY CHECK (length(bridge) = 16),
  version          INTEGER NOT NULL,
  started_scan     INTEGER NOT NULL DEFAULT 0,  -- number of the newest scan begun
  finished_scan    INTEGER NOT NULL DEFAULT 0,  -- number of the newest scan that saw its last row
  run_number       INTEGER NOT NULL DEFAULT 0,  -- newest manual run that was answered by a scan
  last_run_at_ms   INTEGER NOT NULL DEFAULT 0,  -- when the newest finished scan ended
  stuck_code       TEXT,                        -- set while a person must act
  stuck_message    TEXT,
  stuck_hint       TEXT
) STRICT, WITHOUT ROWID;

-- capture_table: one row per table of a captured bridge; its small number stands for (bridge, table) in the digests.
CREATE TABLE capture_table (
  id           INTEGER PRIMARY KEY,
  bridge       BLOB NOT NULL CHECK (length(bridge) = 16),
  name         TEXT NOT NULL,           -- source table as the bridge writes it
  layout       TEXT NOT NULL,           -- columns in order as last packed; another layout makes every row differ
  key_layout   TEXT NOT NULL,           -- key columns and their encodings; another one makes the digests worthless
  digest_count INTEGER NOT NULL DEFAULT 0,
  refused      INTEGER NOT NULL DEFAULT 0, -- rows the adapter could not carry in the last scan
  UNIQUE (bridge, name)
) STRICT;

-- row_digest: what the destinations were last sent, one row per source row. Moves only with the parcel that carries the row.
-- Both texts hold one character per byte, so that their order is the order of bytes: millions of them are read in each scan,
-- and short texts cost a fifth of short BLOBs on the way into the program.
CREATE TABLE row_digest (
  table_id INTEGER NOT NULL,
  key      TEXT NOT NULL,               -- capture/keys.ts: ascending integers stay ascending
  digest   TEXT NOT NULL,               -- 16 bytes over the transformed row text, hexadecimal
  sent     INTEGER NOT NULL,            -- 1: the destinations hold a version of this row; 0: filtered or refused so far
  PRIMARY KEY (table_id, key)
) STRICT, WITHOUT ROWID;

-- lane_out: one row per lane that begins here. Three axes: where the lane is in its life, what stops it, what is under way.
CREATE TABLE lane_out (
  lane             BLOB PRIMARY KEY CHECK (length(lane) = 16),
  bridge           BLOB NOT NULL CHECK (length(bridge) = 16),
  receiver         BLOB NOT NULL CHECK (length(receiver) = 16),
  epoch            INTEGER NOT NULL,    -- ordinal, 1 or more
  nonce            BLOB NOT NULL CHECK (length(nonce) = 16),
  phase            TEXT NOT NULL CHECK (phase IN ('loading', 'streaming', 'suspended', 'ended')),
  load_scan        INTEGER NOT NULL DEFAULT 0, -- scan whose load was begun on this lane, 0 for none
  last_sequence    INTEGER NOT NULL,    -- highest sequence given out in this epoch
  chain            BLOB NOT NULL CHECK (length(chain) = 32), -- chain value of last_sequence
  settled_through  INTEGER NOT NULL DEFAULT -1, -- every sequence up to this one is settled; -1 before the opening is
  on_bus_bytes     INTEGER NOT NULL DEFAULT 0,  -- bytes published and not receipted: the window
  on_bus_count     INTEGER NOT NULL DEFAULT 0,
  waiting_bytes    INTEGER NOT NULL DEFAULT 0,  -- stored bytes of every delivery without a receipt
  waiting_count    INTEGER NOT NULL DEFAULT 0,
  paused_until_ms  INTEGER NOT NULL DEFAULT 0,  -- set by a refusal that says "later"
  refusals_in_row  INTEGER NOT NULL DEFAULT 0,
  stuck_code       TEXT,                -- set while a person must act
  stuck_message    TEXT,
  stuck_hint       TEXT,
  stuck_version    INTEGER NOT NULL DEFAULT 0,  -- bridge version at which it stuck: a newer one is a new attempt
  opened_at_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX lane_out_bridge ON lane_out (bridge);

-- parcel: changes that travel together; the body is kept until every delivery of it is settled and the retention has passed.
CREATE TABLE parcel (
  number          INTEGER PRIMARY KEY,
  parcel          BLOB NOT NULL UNIQUE CHECK (length(parcel) = 16),
  bridge          BLOB NOT NULL,
  bridge_version  INTEGER NOT NULL,
  origin          TEXT NOT NULL CHECK (origin IN ('change', 'load', 'resync')),
  content_hash    BLOB NOT NULL CHECK (length(content_hash) = 32),
  content_bytes   INTEGER NOT NULL,     -- of the plaintext
  counts          TEXT NOT NULL,        -- JSON: rows per table and kind
  made_at_ms      INTEGER NOT NULL,
  open_deliveries INTEGER NOT NULL,     -- deliveries of it that are not settled
  settled_at_ms   INTEGER,              -- when the last of them was
  stored_bytes    INTEGER NOT NULL,
  compression     TEXT NOT NULL CHECK (compression IN ('zstd', 'none')),
  content         BLOB                  -- compressed so; last, so that reading the facts never touches its pages
) STRICT;
CREATE INDEX parcel_settled ON parcel (settled_at_ms) WHERE settled_at_ms IS NOT NULL;

-- delivery_out: a parcel (or an opening) at its place in a lane. What we did (bus) and what the other side said (answer) are two columns.
CREATE TABLE delivery_out (
  lane             BLOB NOT NULL,
  epoch            INTEGER NOT NULL,
  sequence         INTEGER NOT NULL,    -- 0 is the opening
  role             TEXT NOT NULL CHECK (role IN ('opening', 'rows', 'void')),
  parcel           INTEGER REFERENCES parcel (number), -- NULL for openings
  bridge_version   INTEGER NOT NULL,
  previous_chain   BLOB NOT NULL,
  chain            BLOB NOT NULL,
  sealed_at_ms     INTEGER NOT NULL,    -- the books' day
  load_begins      INTEGER NOT NULL DEFAULT 0,
  load_ends        INTEGER NOT NULL DEFAULT 0,
  allowed_deletes  INTEGER NOT NULL DEFAULT 0,
  opening          BLOB,                -- encoded Opening
  void_code        TEXT,
  void_reason      TEXT,
  bus              TEXT NOT NULL CHECK (bus IN ('recorded', 'onBus')),
  answer           TEXT NOT NULL CHECK (answer IN ('awaited', 'open', 'settled', 'closed')),
  stored_bytes     INTEGER NOT NULL,    -- of the parcel, for the budget
  sent_bytes       INTEGER NOT NULL DEFAULT 0, -- of the last publish, for the window
  attempts         INTEGER NOT NULL DEFAULT 0,
  asks             INTEGER NOT NULL DEFAULT 0, -- how often it was asked for again: an ask during a publish is not answered by it
  due_at_ms        INTEGER NOT NULL DEFAULT 0, -- on the bus: when to publish again without a receipt
  PRIMARY KEY (lane, epoch, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_out_recorded ON delivery_out (lane, epoch, sequence) WHERE bus = 'recorded' AND answer <> 'closed';
CREATE INDEX delivery_out_due ON delivery_out (lane, due_at_ms) WHERE bus = 'onBus' AND answer = 'awaited';
CREATE INDEX delivery_out_unsettled ON delivery_out (lane, epoch, sequence) WHERE answer IN ('awaited', 'open');
CREATE INDEX delivery_out_parcel ON delivery_out (parcel);

-- receipt_in: the newest receipt of each delivery we sent, as its receiver signed it.
CREATE TABLE receipt_in (
  lane           BLOB NOT NULL,
  epoch          INTEGER NOT NULL,
  sequence       INTEGER NOT NULL,
  revision       INTEGER NOT NULL,
  settled        INTEGER NOT NULL,
  receipt        BLOB NOT NULL,         -- encoded Signed
  received_at_ms INTEGER NOT NULL,
  PRIMARY KEY (lane, epoch, sequence)
) STRICT, WITHOUT ROWID;

-- lane_in: one row per lane that ends here: how far the target database is, as the mark said when we last looked.
CREATE TABLE lane_in (
  lane             BLOB PRIMARY KEY CHECK (length(lane) = 16),
  bridge           BLOB NOT NULL CHECK (length(bridge) = 16),
  sender           BLOB NOT NULL CHECK (length(sender) = 16),
  epoch            INTEGER NOT NULL DEFAULT 0,
  nonce            BLOB NOT NULL DEFAULT x'',
  applied_sequence INTEGER NOT NULL DEFAULT -1,
  chain            BLOB NOT NULL DEFAULT x'',
  target_id        TEXT,                -- of the target database; another one is another database
  fencing_token    INTEGER NOT NULL DEFAULT 0, -- newest seen in a verified header
  settled_through  INTEGER NOT NULL DEFAULT -1, -- as the sender last said
  resend_asked_ms  INTEGER NOT NULL DEFAULT 0, -- when a gap was last asked for
  ended            INTEGER NOT NULL DEFAULT 0,
  stuck_code       TEXT,
  stuck_message    TEXT,
  stuck_hint       TEXT,
  stuck_version    INTEGER NOT NULL DEFAULT 0,
  applied_at_ms    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- inbox: deliveries received and not applied. The header stays as it was signed; the parts stay sealed.
CREATE TABLE inbox (
  number         INTEGER PRIMARY KEY,
  lane           BLOB NOT NULL,
  epoch          INTEGER NOT NULL,
  sequence       INTEGER NOT NULL,
  nonce          BLOB NOT NULL,
  content_hash   BLOB NOT NULL,
  header         BLOB NOT NULL,         -- encoded Signed
  header_hash    BLOB NOT NULL,         -- SHA-256 of the signed payload: parts of two sealings are never mixed
  parts          INTEGER NOT NULL,
  parts_held     INTEGER NOT NULL,
  bytes          INTEGER NOT NULL,      -- of the parts held
  received_at_ms INTEGER NOT NULL,      -- when the last part was durable
  UNIQUE (lane, epoch, sequence)
) STRICT;

-- inbox_part: one sealed part of a delivery in the inbox.
CREATE TABLE inbox_part (
  inbox INTEGER NOT NULL REFERENCES inbox (number) ON DELETE CASCADE,
  part  INTEGER NOT NULL,
  body  BLOB NOT NULL,
  PRIMARY KEY (inbox, part)
) STRICT;

-- receipt_out: the newest receipt we gave for each delivery, to answer again word for word.
CREATE TABLE receipt_out (
  lane          BLOB NOT NULL,
  epoch         INTEGER NOT NULL,
  sequence      INTEGER NOT NULL,
  nonce         BLOB NOT NULL,
  content_hash  BLOB NOT NULL,
  revision      INTEGER NOT NULL,
  settled       INTEGER NOT NULL,
  receipt       BLOB NOT NULL,          -- encoded Signed
  applied_at_ms INTEGER NOT NULL,
  PRIMARY KEY (lane, epoch, sequence)
) STRICT, WITHOUT ROWID;

-- control_out: control messages waiting for the bus. A newer one of the same topic takes the older one's place.
CREATE TABLE control_out (
  number     INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: "sent" names exactly the message that was published
  topic      TEXT UNIQUE,               -- NULL: never replaced
  message    BLOB NOT NULL,             -- encoded ControlMessage
  made_at_ms INTEGER NOT NULL
) STRICT;

-- book: this node's books, numbered from 1 without holes, kept until the monitor holds them.
CREATE TABLE book (
  number INTEGER PRIMARY KEY,
  entry  BLOB NOT NULL,                 -- encoded BookEntry, its number and database included
  at_ms  INTEGER NOT NULL
) STRICT;

-- book_cursor: one row. last: given out; published: sent to the bus; through: on the monitor's disk.
CREATE TABLE book_cursor (
  id        INTEGER PRIMARY KEY CHECK (id = 1),
  last      INTEGER NOT NULL,
  published INTEGER NOT NULL,
  through   INTEGER NOT NULL
) STRICT;
INSERT INTO book_cursor VALUES (1, 0, 0, 0);

-- quarantine: rows the target refused, kept whole. Written before the target commits, replaced when the delivery is applied again.
CREATE TABLE quarantine (
  lane        BLOB NOT NULL,
  epoch       INTEGER NOT NULL,
  sequence    INTEGER NOT NULL,
  section     INTEGER NOT NULL,
  row_index   INTEGER NOT NULL,
  table_name  TEXT NOT NULL,
  kind        TEXT NOT NULL CHECK (kind IN ('insert', 'update', 'delete')),
  columns     TEXT NOT NULL,            -- JSON: names in the order of the fields
  key_columns INTEGER NOT NULL,
  whole_rows  INTEGER NOT NULL,
  line        BLOB NOT NULL,            -- row text with its LF
  code        TEXT NOT NULL,
  reason      TEXT NOT NULL,            -- never a value
  at_ms       INTEGER NOT NULL,
  PRIMARY KEY (lane, epoch, sequence, section, row_index)
) STRICT, WITHOUT ROWID;
`,
  },
  {
    id: '0002-owed-after-restore',
    sql: `
-- What the target held before it was restored from a backup: asked for until it is there again.
ALTER TABLE lane_in ADD COLUMN owed_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lane_in ADD COLUMN owed_nonce BLOB NOT NULL DEFAULT x'';
ALTER TABLE lane_in ADD COLUMN owed_sequence INTEGER NOT NULL DEFAULT -1;
`,
  },
  {
    id: '0003-held-deletes',
    sql: `
-- Of the last scan: rows without a usable key, and the deletes that were not concluded because of them.
ALTER TABLE capture_table ADD COLUMN nameless INTEGER NOT NULL DEFAULT 0;
ALTER TABLE capture_table ADD COLUMN held_deletes INTEGER NOT NULL DEFAULT 0;
`,
  },
  {
    id: '0004-commands-seen',
    sql: `
-- Commands of the hub that were begun, until they expire: one id is carried out once, also across a restart.
CREATE TABLE command_seen (
  id            BLOB PRIMARY KEY,     -- 16 bytes
  expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`,
  },
  {
    id: '0005-lanes-under-fire',
    sql: `
-- Rows of this lane that were cancelled and are owed: brought again by a load of a later epoch. NULL: nothing is owed.
ALTER TABLE lane_out ADD COLUMN owes_code TEXT;
ALTER TABLE lane_out ADD COLUMN owes_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE lane_out ADD COLUMN owes_since_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lane_out ADD COLUMN owes_epoch INTEGER NOT NULL DEFAULT 0;  -- epoch whose rows are owed
ALTER TABLE lane_out ADD COLUMN owes_tries INTEGER NOT NULL DEFAULT 0;  -- epochs opened to pay since rows last arrived
ALTER TABLE lane_out ADD COLUMN stuck_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lane_out ADD COLUMN gone_at_ms INTEGER NOT NULL DEFAULT 0;  -- when it ended; forgotten after the retention

-- For whose key a delivery was sealed when it was last published: SHA-256 of the receiver's sealing key.
ALTER TABLE delivery_out ADD COLUMN sealed_for BLOB NOT NULL DEFAULT x'';

-- When the lane ended or left the snapshot; forgotten after the retention.
ALTER TABLE lane_in ADD COLUMN gone_at_ms INTEGER NOT NULL DEFAULT 0;

-- bridge_version: definitions of bridges that end here, kept while deliveries captured under them may still come.
CREATE TABLE bridge_version (
  bridge     BLOB NOT NULL CHECK (length(bridge) = 16),
  version    INTEGER NOT NULL,
  definition TEXT NOT NULL,             -- canonical JSON as the hub signed it
  seen_at_ms INTEGER NOT NULL,
  PRIMARY KEY (bridge, version)
) STRICT, WITHOUT ROWID;
`,
  },
  {
    id: '0006-jobs',
    sql: `
-- job: comparisons of both ends and what they send, one lane each, carried out by the source's agent.
CREATE TABLE job (
  job           BLOB PRIMARY KEY,          -- 16 random bytes
  kind          TEXT NOT NULL CHECK (kind IN ('verify', 'resync', 'resend')),
  bridge        BLOB NOT NULL,
  lane          BLOB NOT NULL,
  options       TEXT NOT NULL,             -- JSON: JobOptions
  operator      TEXT NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
  phase         TEXT NOT NULL CHECK (phase IN ('finding', 'sending', 'sent')),
  step          TEXT NOT NULL DEFAULT '',  -- for people
  findings      TEXT NOT NULL DEFAULT '[]', -- JSON: TableFindings, counts only
  code          TEXT NOT NULL DEFAULT '',
  message       TEXT NOT NULL DEFAULT '',
  hint          TEXT NOT NULL DEFAULT '',
  last_sequence INTEGER NOT NULL DEFAULT 0, -- last delivery that carries its rows; 0 for none
  created_at_ms INTEGER NOT NULL,
  changed_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX job_state ON job (state, created_at_ms);

-- job_row: the rows a job found or was asked to send. The key stays on this disk; people see the reference.
CREATE TABLE job_row (
  job        BLOB NOT NULL,
  table_name TEXT NOT NULL,
  row_key    TEXT NOT NULL,                -- as row_digest.key; LF and the key's hash where the destination keeps the key to itself
  reference  TEXT NOT NULL,
  finding    TEXT NOT NULL CHECK (finding IN ('missing', 'differing', 'extra', 'resend')),
  cause      TEXT NOT NULL CHECK (cause IN ('neverApplied', 'changedAtTarget', 'unknown')),
  owned      INTEGER NOT NULL,
  state      TEXT NOT NULL DEFAULT 'found' CHECK (state IN ('found', 'sent', 'left')),
  PRIMARY KEY (job, table_name, row_key)
) STRICT, WITHOUT ROWID;

-- lane_loss: rows that a lane gave up since its epoch began (voids, closed deliveries, abandoned and kept rows). While there
-- are none, a row that was sent and differs at the destination was changed there.
CREATE TABLE lane_loss (
  lane  BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  PRIMARY KEY (lane, epoch)
) STRICT, WITHOUT ROWID;

-- A resend (补数) is stored as a resync with this set: the list of origins above is fixed.
ALTER TABLE parcel ADD COLUMN is_resend INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_out_sealed ON delivery_out (lane, sealed_at_ms);
`,
  },
  {
    id: '0007-settlement',
    sql: `
-- quarantine: a row waits (open) until the mark says that it does not any more; then it is kept for a while as what became of it.
-- A decision is written before it is carried out, so that it survives a crash; the mark says whether it was.
ALTER TABLE quarantine ADD COLUMN ref TEXT NOT NULL DEFAULT '';       -- opaque name for people: HMAC of the place
ALTER TABLE quarantine ADD COLUMN key_text TEXT NOT NULL DEFAULT '';  -- raw row text of the key fields
ALTER TABLE quarantine ADD COLUMN outcome TEXT NOT NULL DEFAULT 'quarantined' CHECK (outcome IN ('quarantined', 'held'));
ALTER TABLE quarantine ADD COLUMN state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'settled'));
ALTER TABLE quarantine ADD COLUMN fate TEXT CHECK (fate IN ('landed', 'abandoned', 'cancelled', 'keptTarget'));
ALTER TABLE quarantine ADD COLUMN settled_at_ms INTEGER;
ALTER TABLE quarantine ADD COLUMN decision TEXT CHECK (decision IN ('replay', 'abandon', 'cancel', 'supersede'));
ALTER TABLE quarantine ADD COLUMN decided_by TEXT NOT NULL DEFAULT '';
ALTER TABLE quarantine ADD COLUMN decided_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quarantine ADD COLUMN decision_reason TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX quarantine_ref ON quarantine (ref) WHERE ref <> '';
CREATE INDEX quarantine_open ON quarantine (lane, table_name, key_text, epoch, sequence, section, row_index) WHERE state = 'open';
CREATE INDEX quarantine_decided ON quarantine (lane, epoch, sequence) WHERE state = 'open' AND decision IS NOT NULL;
CREATE INDEX quarantine_settled ON quarantine (settled_at_ms) WHERE state = 'settled';

-- quarantine_edit: every version a person gave a row, beside the row as received.
CREATE TABLE quarantine_edit (
  lane      BLOB NOT NULL,
  epoch     INTEGER NOT NULL,
  sequence  INTEGER NOT NULL,
  section   INTEGER NOT NULL,
  row_index INTEGER NOT NULL,
  number    INTEGER NOT NULL,           -- 1, 2, 3 … per row
  line      BLOB NOT NULL,              -- row text with its LF
  edited_by TEXT NOT NULL,
  at_ms     INTEGER NOT NULL,
  PRIMARY KEY (lane, epoch, sequence, section, row_index, number)
) STRICT, WITHOUT ROWID;

-- Tables of which the load that this delivery ends could not name every row: JSON, a list of names.
ALTER TABLE delivery_out ADD COLUMN incomplete_tables TEXT NOT NULL DEFAULT '[]';
`,
  },
  {
    id: '0008-rows-sealed',
    // An older program would take sealed bytes for rows.
    breaking: true,
    sql: `
-- Row contents under this host's key (1) or as they are (0): those of before, until they are settled and forgotten.
ALTER TABLE parcel ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;
-- Where it is 1, line holds the key's text as well, and key_text a name for it under that key.
ALTER TABLE quarantine ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE quarantine_edit ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;
`,
  },
  {
    id: '0009-bounded-memory',
    sql: `
-- resend_taken: resend requests that were carried out, the newest of each lane: one that the bus brings again is no news.
CREATE TABLE resend_taken (
  number  INTEGER PRIMARY KEY,          -- the higher, the newer
  lane    BLOB NOT NULL CHECK (length(lane) = 16),
  request BLOB NOT NULL CHECK (length(request) = 16),
  UNIQUE (lane, request)
) STRICT;
CREATE INDEX resend_taken_newest ON resend_taken (lane, number);

CREATE INDEX command_seen_expires ON command_seen (expires_at_ms);

-- Empty once everything is sealed, so that a start finds out without a look at the rows.
CREATE INDEX quarantine_unsealed ON quarantine (sealed) WHERE sealed = 0;
CREATE INDEX quarantine_edit_unsealed ON quarantine_edit (sealed) WHERE sealed = 0;
`,
  },
  {
    id: '0010-cursor',
    sql: `
-- capture_cursor: how far a table that is read by a cursor was read. Values are canonical text, compared by the column's type.
CREATE TABLE capture_cursor (
  table_id        INTEGER PRIMARY KEY,      -- capture_table.id
  plan            TEXT NOT NULL,            -- digest of what was read, and how: under another one the table is read whole
  identity        TEXT NOT NULL,            -- the adapter's word for this very table
  position        TEXT,                     -- every row below it was read, and none will come any more; NULL: nothing is known
  candidate       TEXT,                     -- the next position, once nobody of the horizon is open
  horizon         TEXT,                     -- NULL: nobody to wait for
  candidate_at_ms INTEGER NOT NULL,
  held_since_ms   INTEGER,                  -- candidate_at_ms, once a scan found somebody of the horizon open
  went_back_run   INTEGER                   -- the run in which the source was found behind the position; NULL: it was not, or a person knows
) STRICT;
`,
  },
  {
    id: '0011-refused-rows',
    sql: `
-- refusal_count, refused_row: what the last finished scan refused at a table.
CREATE TABLE refusal_count (
  table_id    INTEGER NOT NULL REFERENCES capture_table (id) ON DELETE CASCADE,
  code        TEXT NOT NULL,
  column_name TEXT NOT NULL,
  rows        INTEGER NOT NULL,
  PRIMARY KEY (table_id, code, column_name)
) STRICT, WITHOUT ROWID;
CREATE TABLE refused_row (
  table_id    INTEGER NOT NULL REFERENCES capture_table (id) ON DELETE CASCADE,
  number      INTEGER NOT NULL,         -- 0, 1, 2 … in the order they were met
  ref         TEXT NOT NULL,            -- 20 hexadecimal digits
  code        TEXT NOT NULL,
  column_name TEXT NOT NULL,
  key         TEXT NOT NULL,            -- as in row_digest
  PRIMARY KEY (table_id, number)
) STRICT, WITHOUT ROWID;
`,
  },
  {
    id: '0012-refused-in-parts',
    sql: `
-- By a cursor, rows that the adapter could not carry are met again in each part, and rows without a value in every reading.
ALTER TABLE capture_table ADD COLUMN refused_of_part INTEGER NOT NULL DEFAULT 0;
ALTER TABLE capture_table ADD COLUMN valueless INTEGER NOT NULL DEFAULT 0;
`,
  },
  {
    id: '0013-log',
    sql: `
-- capture_log: how far a bridge has taken its source's log. Positions and what a snapshot sees are in the adapter's words.
CREATE TABLE capture_log (
  bridge       BLOB PRIMARY KEY CHECK (length(bridge) = 16),
  source       TEXT NOT NULL,            -- data source
  identity     TEXT NOT NULL,            -- of server and database
  tables       TEXT NOT NULL,            -- of the bridge's tables: under another one the position means nothing
  position     TEXT NOT NULL,            -- every transaction before it is in the outbox, or was seen by a scan
  part_of      TEXT,                     -- the transaction behind it of which part_changes changes are in the outbox too
  part_changes INTEGER NOT NULL DEFAULT 0,
  seen         TEXT,                     -- what the snapshot of the last scan saw
  owes_code    TEXT,                     -- why the tables are to be scanned before the log goes on; NULL: it is followed
  owes_message TEXT NOT NULL DEFAULT '',
  gap_at_ms    INTEGER NOT NULL DEFAULT 0
) STRICT;
-- kept_log: data sources whose database keeps its log for this node, until it is told not to.
CREATE TABLE kept_log (
  source TEXT PRIMARY KEY,
  name   TEXT NOT NULL
) STRICT;
`,
  },
  {
    id: '0014-log-owes',
    sql: `
-- Rises each time that a scan becomes due: one under way does not answer what came after it began.
ALTER TABLE capture_log ADD COLUMN owes_number INTEGER NOT NULL DEFAULT 0;
`,
  },
  {
    id: '0015-trigger',
    sql: `
-- capture_trigger: tables that are captured by trigger.
CREATE TABLE capture_trigger (
  table_id    INTEGER PRIMARY KEY REFERENCES capture_table (id) ON DELETE CASCADE,
  changes     TEXT NOT NULL,                -- data source and change table; several bridges may share one
  is_plain    INTEGER NOT NULL,             -- the key leaves as the source has it
  plan        TEXT NOT NULL DEFAULT '',     -- digest of what was read, and how: under another one the table is read whole
  owed        INTEGER NOT NULL DEFAULT 1,   -- how often the whole table was asked for …
  read        INTEGER NOT NULL DEFAULT 0,   -- … when the last reading of it began
  identity    TEXT NOT NULL DEFAULT '',     -- the adapter's word for these very triggers
  whole_at_ms INTEGER NOT NULL DEFAULT 0,   -- last reading of the whole table
  gap_reason  TEXT,                         -- history was lost: until a person has asked for a run after
  gap_run     INTEGER                       -- the newest run when the gap was found
) STRICT;
CREATE INDEX capture_trigger_changes ON capture_trigger (changes);
-- noted_key: rows to be read, by the source's key as row text.
CREATE TABLE noted_key (
  table_id INTEGER NOT NULL REFERENCES capture_trigger (table_id) ON DELETE CASCADE,
  key      TEXT NOT NULL,
  look     INTEGER NOT NULL,                -- capture_look.number when it was noted last
  inserts  INTEGER NOT NULL DEFAULT 0,      -- entries of the change table; none: a destination asked for it
  updates  INTEGER NOT NULL DEFAULT 0,
  deletes  INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (table_id, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE capture_look (number INTEGER NOT NULL) STRICT;
INSERT INTO capture_look VALUES (0);
`,
  },
  {
    id: '0016-taken-entries',
    sql: `
-- taken_entry: entries of a change table that were noted, until the source has forgotten them: after a crash between they count no second time.
CREATE TABLE taken_entry (
  changes TEXT NOT NULL,
  id      TEXT NOT NULL,
  PRIMARY KEY (changes, id)
) STRICT, WITHOUT ROWID;
`,
  },
  {
    id: '0017-arrivals',
    sql: `
-- arrival: what the other end of a two-way pair said last of a row, until the change is found here.
CREATE TABLE arrival (
  table_id INTEGER NOT NULL REFERENCES capture_table (id) ON DELETE CASCADE,
  key      TEXT NOT NULL,
  digest   TEXT NOT NULL,                   -- as row_digest has it, or 'gone'
  PRIMARY KEY (table_id, key)
) STRICT, WITHOUT ROWID;
`,
  },
  {
    id: '0018-kept-rows',
    sql: `
-- kept_row: rows that stayed here against what the other end of a two-way pair sent: they are sent to it once for each such word.
CREATE TABLE kept_row (
  table_id INTEGER NOT NULL REFERENCES capture_table (id) ON DELETE CASCADE,
  key      TEXT NOT NULL,
  word     TEXT NOT NULL,                   -- digest of the row that was kept off
  is_due   INTEGER NOT NULL DEFAULT 1,      -- 0: sent back against this word
  PRIMARY KEY (table_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_row_due ON kept_row (table_id) WHERE is_due = 1;
`,
  },
  {
    id: '0019-paths',
    sql: `
-- arrival_path: the ways that rows took to this node: tables with their nodes, as JSON, the first one first.
CREATE TABLE arrival_path (
  id   INTEGER PRIMARY KEY,
  path TEXT NOT NULL UNIQUE
) STRICT;
-- arrival: what another node said last of a row, until the change is found here. Notes without a way are worth a change that goes back once.
DROP TABLE arrival;
CREATE TABLE arrival (
  table_id INTEGER NOT NULL REFERENCES capture_table (id) ON DELETE CASCADE,
  key      TEXT NOT NULL,
  digest   TEXT NOT NULL,                   -- as row_digest has it, or 'gone'
  path_id  INTEGER NOT NULL REFERENCES arrival_path (id),
  PRIMARY KEY (table_id, key)
) STRICT, WITHOUT ROWID;
`,
  },
  {
    id: '0020-path-format',
    sql: `
DROP TABLE arrival;
DROP TABLE arrival_path;
-- arrival_path: the ways that rows took to this node: tables with their nodes, as JSON, the first one first.
CREATE TABLE arrival_path (
  id     INTEGER PRIMARY KEY,
  format INTEGER NOT NULL,                  -- how the path is written; 0
  path   TEXT NOT NULL,
  UNIQUE (format, path)
) STRICT;
-- arrival: what another node said last of a row, until the change is found here. Notes of before are worth a change that goes back once.
-- Without a foreign key: ways that are not in use are looked for in one pass, not one by one.
CREATE TABLE arrival (
  table_id INTEGER NOT NULL REFERENCES capture_table (id) ON DELETE CASCADE,
  key      TEXT NOT NULL,
  digest   TEXT NOT NULL,                   -- as row_digest has it, or 'gone'
  path_id  INTEGER NOT NULL,                -- of arrival_path
  PRIMARY KEY (table_id, key)
) STRICT, WITHOUT ROWID;
`,
  },
  {
    id: '0021-what-stands-there',
    sql: `
-- What the destination said last of the row, where another node's word stands over it; 'gone': that it has none.
ALTER TABLE arrival ADD COLUMN there TEXT;
-- 1: the row is in the target, as the word says.
ALTER TABLE arrival ADD COLUMN landed INTEGER NOT NULL DEFAULT 0;
-- 1: the row is to be read by its key once the word has landed, for a whole scan may have taken the change with it. While such a scan runs:
-- 2, landed before it; 3, perhaps after.
ALTER TABLE arrival ADD COLUMN look INTEGER NOT NULL DEFAULT 0;
CREATE INDEX arrival_due ON arrival (table_id) WHERE landed = 1 AND look = 1;
`,
  },
  {
    id: '0022-row-lines',
    // An older program would look for the text of a row beside what is decided about it.
    breaking: true,
    sql: `
-- quarantine_line: the text of each row in the quarantine, as received. Apart, because it may be large, and what is decided about it is
-- written often. A row that goes takes its line along.
CREATE TABLE quarantine_line (
  lane      BLOB NOT NULL,
  epoch     INTEGER NOT NULL,
  sequence  INTEGER NOT NULL,
  section   INTEGER NOT NULL,
  row_index INTEGER NOT NULL,
  line      BLOB NOT NULL,              -- row text with its LF; sealed where quarantine says so
  PRIMARY KEY (lane, epoch, sequence, section, row_index),
  FOREIGN KEY (lane, epoch, sequence, section, row_index) REFERENCES quarantine ON DELETE CASCADE
) STRICT;
-- Where sealed is 1, key_text is a name for the key's text under that key, and the text itself lies sealed here.
ALTER TABLE quarantine ADD COLUMN key_sealed BLOB;
-- Rows that hold their line themselves are taken apart, step by step, when the file is opened; then quarantine.line goes, and this index.
CREATE INDEX quarantine_whole ON quarantine (sealed) WHERE length(line) > 0;

-- quarantine_edit: as it was, its line last, and with a rowid: who edited a row and when is read without a line, which a search among
-- records that are their own index would load whole.
ALTER TABLE quarantine_edit RENAME TO quarantine_edit_before;
CREATE TABLE quarantine_edit (
  lane      BLOB NOT NULL,
  epoch     INTEGER NOT NULL,
  sequence  INTEGER NOT NULL,
  section   INTEGER NOT NULL,
  row_index INTEGER NOT NULL,
  number    INTEGER NOT NULL,           -- 1, 2, 3 … per row
  edited_by TEXT NOT NULL,
  at_ms     INTEGER NOT NULL,
  sealed    INTEGER NOT NULL,
  line      BLOB NOT NULL,              -- row text with its LF
  PRIMARY KEY (lane, epoch, sequence, section, row_index, number)
) STRICT;
INSERT INTO quarantine_edit SELECT lane, epoch, sequence, section, row_index, number, edited_by, at_ms, sealed, line
 FROM quarantine_edit_before;
DROP TABLE quarantine_edit_before;
CREATE INDEX quarantine_edit_unsealed ON quarantine_edit (sealed) WHERE sealed = 0;
`,
  },
  {
    id: '0023-earlier-words',
    sql: `
-- What was said before this by the same way, landed, and was not found here yet: digests or 'gone', the oldest first, with blanks between.
ALTER TABLE arrival ADD COLUMN earlier TEXT NOT NULL DEFAULT '';
`,
  },
  {
    id: '0024-landing-loads',
    sql: `
-- 1: the load of the lane has begun and not ended.
ALTER TABLE lane_in ADD COLUMN loading INTEGER NOT NULL DEFAULT 0;
`,
  },
  {
    id: '0025-asked-again',
    sql: `
-- 1: answered, and asked for again since: in the window until it is answered once more.
ALTER TABLE delivery_out ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_out_asked ON delivery_out (lane, due_at_ms) WHERE bus = 'onBus' AND asked = 1;
`,
  },
  {
    id: '0026-put-back',
    sql: `
-- 1: its history was lost, or rows that had landed: what it lacks is no delete until a person allows it.
ALTER TABLE capture_table ADD COLUMN put_back INTEGER NOT NULL DEFAULT 0;
`,
  },
  {
    id: '0027-layout-version',
    sql: `
-- The bridge's version that the layout belongs to; 0 for one of before this was kept.
ALTER TABLE capture_table ADD COLUMN layout_version INTEGER NOT NULL DEFAULT 0;
`,
  },
  {
    id: '0028-parcel-bodies',
    // An older program would take a parcel for purged.
    breaking: true,
    sql: `
-- parcel_body: what a parcel brings, beside its record: a record that is changed is written whole, with all that it holds, and a parcel's is
-- whenever one of its deliveries is settled. Those of before hold their bodies themselves until they are forgotten.
CREATE TABLE parcel_body (
  number  INTEGER PRIMARY KEY REFERENCES parcel (number) ON DELETE CASCADE,
  sealed  INTEGER NOT NULL,             -- 1: under this host's key
  content BLOB NOT NULL                 -- compressed as the parcel says
) STRICT;
`,
  },
];
