// The closed registry of crash points: every boundary between two stores, where a process that dies leaves one written and the
// other not. crash.ts is what dies there; docs/crash-points.md lists them for readers, test/crash-points.test.ts dies at each and
// looks what is left.

export interface CrashPoint {
  /** The step of the road, or the room beside it. */
  readonly step: (typeof CRASH_STEPS)[number];
  /** What is written already → what is not yet. */
  readonly between: string;
  /** What the next start finds, and who repairs it. */
  readonly restart: string;
}

/** In the order in which the list is read. */
export const CRASH_STEPS = [
  'capture',
  'send',
  'route',
  'receive',
  'apply',
  'receipt',
  'epoch',
  'books',
  'jobs',
  'configuration',
  'identity',
] as const;

/** One line per boundary. A name is `noun.whatIsDone`: it says the last thing that is on disk (or on the bus). */
export const CRASH_POINTS = {
  'capture.read': {
    step: 'capture',
    between: 'source database read → exchange.db: changes, digests, position',
    restart: 'nothing was written; the next scan reads the rows again',
  },
  'entries.noted': {
    step: 'capture',
    between: 'exchange.db: keys that triggers noted → source database: their entries forgotten',
    restart: 'the entries are read and noted again; their rows are found unchanged',
  },
  'entries.forgotten': {
    step: 'capture',
    between: 'source database: entries of triggers forgotten → exchange.db: their rows captured',
    restart: 'the keys are in the exchange database; the next scan reads their rows',
  },
  'capture.packed': {
    step: 'capture',
    between: 'exchange.db: parcel, deliveries, statements → bus',
    restart: 'the outbox has the delivery; the lane’s loop sends it',
  },
  'log.kept': {
    step: 'capture',
    between:
      'exchange.db: under which name the source database shall keep its log → source database: slot and publication made',
    restart: 'they are made; one that is not there was never read',
  },
  'log.prepared': {
    step: 'capture',
    between: 'source database: slot and publication made → exchange.db: position of the bridge, the scan that it owes',
    restart: 'they are found and used; the bridge begins at the log’s end then, and is scanned',
  },
  'log.advanced': {
    step: 'capture',
    between: 'exchange.db: changes of the log with their position → source database: told what it may forget',
    restart: 'what it kept for longer comes again, lies behind the position and is passed over',
  },
  'log.confirmed': {
    step: 'capture',
    between: 'source database: told what it may forget → exchange.db: the changes after that',
    restart: 'the log is read from the position on',
  },
  'log.removed': {
    step: 'capture',
    between: 'source database: slot and publication removed → exchange.db: that nothing is kept there',
    restart: 'they are removed once more, which changes nothing; for bridges that go on they are made anew, with a gap',
  },
  'purge.removed': {
    step: 'capture',
    between: 'exchange.db: settled parcels removed → free pages given back',
    restart: 'the next round goes on where this one ended',
  },
  'send.sealed': {
    step: 'send',
    between: 'exchange.db: delivery recorded → bus',
    restart: 'it is sealed again with a fresh key and sent; the content hash is the same',
  },
  'send.sealedAgain': {
    step: 'send',
    between: 'exchange.db: delivery marked to be sealed for the receiver’s new key → bus',
    restart: 'it is sealed again and sent; the content hash is the same',
  },
  'send.published': {
    step: 'send',
    between: 'bus acknowledged → exchange.db: delivery marked as on the bus',
    restart: 'it is published again; the receiver drops the duplicate and answers it once more',
  },
  'route.learned': {
    step: 'route',
    between: 'hub.db: epoch or fencing token of the header → bus: delivery forwarded',
    restart: 'the bus brings the delivery again; an epoch that is known already is no news',
  },
  'route.forwarded': {
    step: 'route',
    between: 'bus: delivery forwarded → bus: taken delivery acknowledged',
    restart: 'it is forwarded again; the receiver drops the duplicate',
  },
  'route.refusalRecorded': {
    step: 'route',
    between: 'hub.db: refusal written down → bus: sender told, message acknowledged',
    restart: 'the message is judged and refused again; the second count stands in the same row',
  },
  'route.refusalTold': {
    step: 'route',
    between: 'bus: sender told of the refusal → bus: delivery acknowledged',
    restart: 'the sender is told twice; a refusal of an attempt that is over changes nothing',
  },
  'route.controlForwarded': {
    step: 'route',
    between: 'bus: receipt or request forwarded → bus: taken message acknowledged',
    restart: 'it is forwarded again; a receipt that is known changes nothing',
  },
  'route.reported': {
    step: 'route',
    between: 'hub.db: what a node runs → bus: report acknowledged',
    restart: 'the report comes again and writes the same',
  },
  'receive.stored': {
    step: 'receive',
    between: 'exchange.db: delivery in the inbox → bus acknowledged',
    restart: 'the bus brings it again; the inbox knows it',
  },
  'receive.answered': {
    step: 'receive',
    between: 'exchange.db: stored receipt or refusal queued → bus acknowledged',
    restart: 'the bus brings the delivery again and it is answered again, under the same topic of the queue',
  },
  'apply.prepared': {
    step: 'apply',
    between: 'target: mark table and target id made → exchange.db: target id of the lane',
    restart: 'the mark table is found with its id',
  },
  'lane.recovered': {
    step: 'apply',
    between:
      'exchange.db: the lane’s point taken from the mark, the missing asked for → target: rows that wait compared',
    restart: 'the gap shows again, or the sender publishes what has no receipt',
  },
  'mark.lifted': {
    step: 'apply',
    between: 'target: revision of the mark lifted above the one its sender holds → exchange.db: receipt',
    restart: 'the mark has the higher revision; the receipt is made from it',
  },
  'quarantine.held': {
    step: 'apply',
    between: 'exchange.db: rows held behind an open row → target: transaction',
    restart: 'the attempt is repeated and replaces them',
  },
  'apply.marked': {
    step: 'apply',
    between: 'target, inside the transaction: mark → rows',
    restart: 'the target has rolled back; the delivery waits in the inbox',
  },
  'apply.landed': {
    step: 'apply',
    between: 'target, inside the transaction: rows → outcomes in the mark',
    restart: 'the target has rolled back; the delivery waits in the inbox',
  },
  'landing.staged': {
    step: 'apply',
    between: 'target of files: a delivery’s files, where nobody looks → its mark',
    restart: 'files that no mark names are removed; the delivery waits in the inbox',
  },
  'landing.marked': {
    step: 'apply',
    between: 'target of files: mark of a delivery → its files in the department’s folders',
    restart: 'the files that the mark names are put there before anything else is done in the lane',
  },
  'quarantine.kept': {
    step: 'apply',
    between: 'exchange.db: refused rows kept → target: COMMIT',
    restart: 'the target has rolled back; the attempt is repeated and replaces the kept rows',
  },
  'apply.written': {
    step: 'apply',
    between: 'target, inside the transaction: mark, rows, outcomes → COMMIT',
    restart: 'the target has rolled back; the delivery waits in the inbox',
  },
  'arrivals.noted': {
    step: 'apply',
    between: 'exchange.db: what the other end of a two-way pair has → target: transaction',
    restart: 'the attempt is repeated and notes the same',
  },
  'apply.committed': {
    step: 'apply',
    between: 'target: committed → exchange.db: receipt',
    restart: 'the delivery is still in the inbox; the mark says what came of it, and the receipt is made from it',
  },
  'rows.decided': {
    step: 'apply',
    between: 'exchange.db: what was decided about rows that wait → target: rows and counts moved',
    restart: 'the decision is carried out after the start',
  },
  'amend.committed': {
    step: 'apply',
    between: 'target: rows settled, counts and revision of the mark moved → exchange.db: quarantine and receipt follow',
    restart: 'the mark is ahead of the receipt: rows and receipt are made from it when the lane is looked at',
  },
  'void.applied': {
    step: 'apply',
    between: 'target: the mark passed the void → exchange.db: receipt of the void',
    restart: 'the void is still in the inbox; the mark knows it',
  },
  'receipt.made': {
    step: 'receipt',
    between: 'exchange.db: receipt, book entry, queue → bus',
    restart: 'the queue has it; the loop of control messages sends it',
  },
  'receipt.revised': {
    step: 'receipt',
    between: 'exchange.db: rows settled, revised receipt, book entry, queue → bus',
    restart: 'the queue has it; the loop of control messages sends it',
  },
  'receipt.published': {
    step: 'receipt',
    between: 'bus acknowledged → exchange.db: message taken off the queue',
    restart: 'it is sent again; its reader knows it',
  },
  'receipt.arrived': {
    step: 'receipt',
    between: 'bus → exchange.db: receipt recorded',
    restart: 'the bus brings it again',
  },
  'receipt.recorded': {
    step: 'receipt',
    between: 'exchange.db: receipt, delivery settled → bus acknowledged',
    restart: 'the bus brings it again; the revision is known',
  },
  'refusal.recorded': {
    step: 'receipt',
    between: 'exchange.db: pause, void with its settlement, stop or new epoch → bus acknowledged',
    restart: 'the bus brings the refusal again; it speaks of an attempt that is over',
  },
  'resend.recorded': {
    step: 'receipt',
    between: 'exchange.db: deliveries to be sent again, the request’s id → bus acknowledged',
    restart: 'the bus brings the request again; its id is known',
  },
  'rows.wanted': {
    step: 'receipt',
    between: 'exchange.db: digests of wanted rows forgotten → bus acknowledged',
    restart: 'the bus brings the request again; a digest that is forgotten stays so',
  },
  'question.recorded': {
    step: 'receipt',
    between: 'exchange.db: a question of the other end, or its answer → bus acknowledged',
    restart: 'the bus brings it again; it is answered again, or known',
  },
  'epoch.opened': {
    step: 'epoch',
    between: 'exchange.db of the sender: epoch and opening → bus',
    restart: 'the opening is delivery 0 of the lane and is sent like any other',
  },
  'epoch.applied': {
    step: 'epoch',
    between: 'target: the mark stands in the new epoch → exchange.db: the old one’s rest dropped, receipt',
    restart: 'the opening is still in the inbox; the mark knows it',
  },
  'lane.suspended': {
    step: 'epoch',
    between: 'exchange.db of the sender: epoch closed in the books, load owed, new opening → bus; bodies purged',
    restart: 'the lane waits for the answer to its opening; the next purge takes the bodies',
  },
  'owed.epochOpened': {
    step: 'epoch',
    between: 'exchange.db of the sender: epoch opened to pay what is owed → bus',
    restart: 'the opening is sent like any other; the debt stands until a load of that epoch is packed',
  },
  'cleaning.laneForgotten': {
    step: 'epoch',
    between: 'exchange.db of the receiver: open rows of an ended lane cancelled, inbox emptied → target: mark',
    restart: 'the lane’s row is still there; apply removes the mark and then the row',
  },
  'apply.laneForgotten': {
    step: 'epoch',
    between: 'target: mark of an ended lane removed → exchange.db: the lane’s row',
    restart: 'the mark is removed once more, which changes nothing, and then the row',
  },
  'lane.ended': {
    step: 'epoch',
    between: 'exchange.db of the sender: what was unsettled closed → bus: books',
    restart: 'the settlement is a book entry and leaves with the others',
  },
  'books.published': {
    step: 'books',
    between: 'bus acknowledged → exchange.db: cursor of the books',
    restart: 'the batch is published again; the monitor knows its numbers',
  },
  'books.through': {
    step: 'books',
    between: 'exchange.db: the monitor’s word on how far it holds the books → bus acknowledged',
    restart: 'the word comes again and says the same',
  },
  'ingest.stored': {
    step: 'books',
    between: 'monitor.db: entries with their sums and position, heartbeat or directory → bus acknowledged',
    restart: 'the message comes again; entries up to the position are passed over',
  },
  'ingest.acknowledged': {
    step: 'books',
    between: 'bus acknowledged → bus: the node told how far its books are held',
    restart: 'a node that is not told publishes its entries again after a minute, and then it is told',
  },
  'rows.asked': {
    step: 'configuration',
    between: 'node: rows shown or decided, with the operator’s name kept there → hub.db: audit',
    restart:
      'the command failed at the operator; given again it stands in the audit, and what was decided stays decided',
  },
  'job.asked': {
    step: 'jobs',
    between: 'exchange.db of the source: job under way → hub.db: audit',
    restart: 'the command failed at the operator; given again, the job under way is given back and the audit written',
  },
  'job.stored': {
    step: 'jobs',
    between: 'exchange.db: comparison or resend wanted → the hub’s command answered',
    restart: 'the job runs; asked for again, the one under way is given back',
  },
  'verify.read': {
    step: 'jobs',
    between: 'target table read → exchange.db: answer queued',
    restart: 'the source asks again and the table is read again',
  },
  'job.found': {
    step: 'jobs',
    between: 'exchange.db: rows that were found → exchange.db: the job’s next phase',
    restart: 'the job forgets what it found and finds anew',
  },
  'job.packed': {
    step: 'jobs',
    between: 'exchange.db: delivery with its rows noted as sent → bus',
    restart: 'the delivery is sent from the outbox; the job goes on with the rows that still wait',
  },
  'bridge.checked': {
    step: 'configuration',
    between: 'nodes: commands done, exchange tables made → hub.db: version, lanes, audit',
    restart: 'nothing is deployed; the operator’s command failed and is given again',
  },
  'command.seen': {
    step: 'configuration',
    between: 'exchange.db: the command’s id kept → the command carried out',
    restart: 'the command was not done and is not done twice; its operator gives it again',
  },
  'table.created': {
    step: 'configuration',
    between: 'exchange tables: table made → the hub’s command answered',
    restart: 'the command fails at the hub; given again, it finds the table',
  },
  'bridge.stored': {
    step: 'configuration',
    between: 'hub.db: bridge, lanes, audit → hub.db: snapshots of the nodes',
    restart: 'every start composes the snapshots anew and stores those that changed',
  },
  'desired.stored': {
    step: 'configuration',
    between: 'hub.db: snapshot → bus',
    restart: 'it is not noted as brought out: the next start, or another replica, brings it out',
  },
  'desired.published': {
    step: 'configuration',
    between: 'bus: snapshot on its way to the node → hub.db: noted as brought out',
    restart: 'the snapshot is sent again; a node passes over what is not newer',
  },
  'snapshot.cached': {
    step: 'configuration',
    between: 'exchange.db: snapshot → lanes and bridges of this node follow it',
    restart: 'the start runs on the cached snapshot',
  },
  'snapshot.taken': {
    step: 'configuration',
    between: 'exchange.db: report of what runs queued → bus: snapshot acknowledged',
    restart: 'the snapshot comes again and is not newer; the report leaves from the queue',
  },
  'bridgeFile.created': {
    step: 'configuration',
    between: 'hub: bridge created from its file → hub: deployed',
    restart: '`qiao apply` again finds the bridge and deploys it',
  },
  'bridgeFile.deployed': {
    step: 'configuration',
    between: 'hub: bridge deployed from its file → hub: started',
    restart: '`qiao apply` again starts it',
  },
  'invite.stored': {
    step: 'identity',
    between: 'hub.db: node invited, hash of its token → the token shown to the operator',
    restart: 'nobody has the token; the node is invited again',
  },
  'join.stored': {
    step: 'identity',
    between: 'hub.db: token taken, certificate recorded → bus: streams of the node',
    restart: 'the next connect makes the streams; the node, which has no answer, is invited again',
  },
  'join.prepared': {
    step: 'identity',
    between: 'bus: streams of the node → the node’s call answered',
    restart: 'the node has no answer and is invited again',
  },
  'join.answered': {
    step: 'identity',
    between: 'hub: joined → identity files of the node',
    restart: 'the token is spent; the node is invited again and joins with new keys',
  },
  'identity.written': {
    step: 'identity',
    between: 'identity files: keys and certificates → identity.json, which makes them an identity',
    restart: 'there is no identity yet; the node is invited again and joins with new keys',
  },
  'hello.started': {
    step: 'identity',
    between: 'hub.db: fencing token given, audit → bus: answer, peers told',
    restart: 'the agent asks again and gets the next token',
  },
  'hello.answered': {
    step: 'identity',
    between: 'hub.db: fencing token given → exchange.db of the agent: snapshot, token',
    restart: 'the agent asks again and gets the next token; one that nobody uses fences nobody who lives',
  },
  'hello.kept': {
    step: 'identity',
    between: 'exchange.db of the agent: fencing token → sending begins',
    restart: 'each start takes a token of its own',
  },
  'revoke.stored': {
    step: 'identity',
    between: 'hub.db: node revoked, audit → hub.db: snapshots, routing',
    restart: 'routing reads hub.db at the start; the bus is told at the connect',
  },
  'revoke.routed': {
    step: 'identity',
    between: 'hub.db: snapshots without the node → file of revocations',
    restart: 'the hub compares hub.db with the file at the connect and voids who is missing',
  },
  'revocation.written': {
    step: 'identity',
    between: 'file of revocations → nats-server',
    restart: 'the server is started with the file’s revocations; a cluster is told at the connect',
  },
  'revoke.told': {
    step: 'identity',
    between: 'bus: user cut → bus: streams of the node removed',
    restart: 'the streams stay until the node is revoked again or joins anew; nobody may read them',
  },
  'renewal.stored': {
    step: 'identity',
    between: 'hub.db: another certificate for the node’s key → the node’s hello answered',
    restart: 'the node asks again and gets one more; the one before ends by itself, and both name the same key',
  },
  'renewal.received': {
    step: 'identity',
    between: 'hub.db: another certificate for the monitor’s key → identity files of the monitor',
    restart: 'the monitor asks again and gets one more; the one before ends by itself, and both name the same key',
  },
  'renewal.written': {
    step: 'identity',
    between: 'identity files of the agent: renewed certificate → exchange.db: snapshot',
    restart: 'the agent starts with the new certificate, and its hello brings the snapshot',
  },
  'agent.becameAnother': {
    step: 'identity',
    between:
      'exchange.db: a restored copy has another identity, its books other numbers → marker of the restore removed',
    restart: 'it takes one more identity; the books are numbered once more and nobody had seen the numbers',
  },
  'authority.renewed': {
    step: 'identity',
    between: 'hub.db: the authority’s renewed certificate → identity files of the hub',
    restart: 'the next start takes it from hub.db and writes the files; both name the same key',
  },
  'restore.noticed': {
    step: 'identity',
    between: 'hub.db: this hub was restored and waits → marker of the restore removed',
    restart: 'the marker is read again; the hub waits already',
  },
  'restore.learned': {
    step: 'identity',
    between:
      'hub.db: nodes, bridges and lanes that a node told of → hub.db: epochs and tokens; file of revocations; that the node has reported',
    restart: 'the node has not reported and is asked again; what is known is no news',
  },
  'restore.usersVoided': {
    step: 'identity',
    between: 'bus: users whose rights ended after the backup void again → hub.db: that the node has reported',
    restart: 'the node has not reported and is asked again; what is void stays void',
  },
  'restore.confirmed': {
    step: 'identity',
    between: 'hub.db: new generation, no longer waiting → routing and snapshots',
    restart: 'the hub starts as one that was confirmed',
  },
  'init.keysWritten': {
    step: 'identity',
    between: 'files: authority, identity, bus keys → hub.db',
    restart: 'there is no hub.yaml, so no hub: remove the directory and found the platform again',
  },
  'init.databaseFounded': {
    step: 'identity',
    between: 'hub.db → the first operator’s context',
    restart: 'there is no hub.yaml, so no hub: remove the directory and found the platform again',
  },
  'init.contextWritten': {
    step: 'identity',
    between: 'the first operator’s context → hub.yaml',
    restart: 'there is no hub.yaml, so no hub: remove both directories and found the platform again',
  },
} as const satisfies Readonly<Record<string, CrashPoint>>;

export type CrashPointName = keyof typeof CRASH_POINTS;
