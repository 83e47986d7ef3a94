// Package limit holds every bound that Entente puts on what comes from outside, each with its reason.
//
// A bound is checked before anything is allocated for it. Sizes are bytes, times are durations.
// Anyone may import this package, and it imports nothing of ours.
package limit

import "time"

// What may be exchanged and signed.
const (
	// Document bounds a document's plaintext. Beyond 64 GiB a transfer takes hours even on a fast line,
	// and whoever has that much to give sends it in parts.
	Document int64 = 64 << 30
	// Statement bounds a manifest, receipt or card. The largest, a manifest for 64 recipients, takes about 7 KiB.
	Statement = 64 << 10
	// Agreement bounds an agreement. Its prose is a contract of perhaps a hundred pages.
	Agreement = 256 << 10
	// Charter bounds a charter: 64 members at about 400 bytes, and their signatures, with room for a long chain of standing.
	Charter = 256 << 10
	// Founding bounds a founding file: one charter and the cards of all its members.
	Founding = Charter + Members*Statement
	// AmendmentFile bounds an amendment file: for a newcomer it holds a founding file's content, and what has changed since.
	AmendmentFile = Founding + 16<<20
	// Header bounds an age header. A hybrid stanza takes 1.6 KiB, 64 of them 100 KiB.
	Header = 128 << 10
	// Inner bounds the header inside the age plaintext: a hash, a salt, a name and a media type.
	Inner = 4 << 10
	// Recipients bounds the recipients of one document: what one age header of 128 KiB carries.
	Recipients = 64
	// Members bounds an alliance. A signed note may hold 100 signature lines, and all members sign a charter.
	Members = 64
	// SealingKeys bounds the sealing keys on a card: one in use and those that retire.
	SealingKeys = 8
	// Recipient bounds a sealing key as it is written: a hybrid age recipient has 1,959 characters.
	Recipient = 2 << 10
	// Reasons bounds the reasons in a receipt. Fewer than 30 base rules are about acceptance; the rest is room for agreements. The rules of
	// all of them, with the longest ids, fit into one leaf: otherwise a peer's refusal could not be recorded.
	Reasons = 40
	// Purposes bounds the purposes that an agreement lists.
	Purposes = 64
	// CompromisedKeys bounds the keys that one card declares compromised: all those of two earlier cards, and more on later cards.
	CompromisedKeys = 10
	// Schemes bounds the label schemes of an agreement beside TLP: one for each of a few members that keep their own.
	Schemes = 8
	// Levels bounds the levels of a label scheme. Real ones have four or five.
	Levels = 16
	// Categories bounds the categories of each kind in a label scheme, of which a label can carry only a few.
	Categories = 64
	// LabelWord bounds the name of a scheme, level or category, so that a label of a few of them fits into a Word.
	LabelWord = 24
	// SchemeFile bounds a file with one label scheme: its words take less than 5 KiB, the rest is for comments.
	SchemeFile = 64 << 10
	// LabelFile bounds an exported label. A label has at most a Word, and so a file of them less than 4 KiB.
	LabelFile = 16 << 10
	// NoticeDays bounds the notice period of an agreement: ten years.
	NoticeDays = 3653
	// Amendments bounds the amendments that a history keeps, forks among them: one a week for twenty years.
	Amendments = 1024
	// Cards bounds the cards that are taken of one member: one a month for twenty years. It makes them alone, so nothing else would.
	Cards = 256
	// Leaves bounds the amendments by which one member leaves. It signs them alone, so nothing else would bound them; one is
	// enough, and the others can only come from a member that means harm.
	Leaves = 8
	// Auditors bounds the persons of members whom a charter lets read all logs.
	Auditors = 64
	// OutsideWitnesses bounds the witnesses in a charter that are no members. Each answers for every checkpoint.
	OutsideWitnesses = 16
	// URL bounds the address of an outside witness.
	URL = 512
	// CA bounds a member's CA bundle in PEM: a few certificates.
	CA = 16 << 10
)

// How long words may be. All of them appear in tables, so they must stay readable.
const (
	// MemberName bounds a member's name; it is a DNS-like label and a SPIFFE trust domain.
	MemberName = 32
	// PersonName bounds a person's name.
	PersonName = 32
	// Word bounds a purpose, a label, an agreement's or an alliance's name.
	Word = 64
	// Rule bounds a rule's id with the name of its set in front, agreement/ID.
	Rule = Word + len("agreement/")
	// Line bounds a free one-line text in a statement, such as a reason.
	Line = 1024
	// FileName bounds a document's name. Every common file system takes 255 bytes.
	FileName = 255
	// MediaType bounds a media type; RFC 6838 allows 127 on each side of the slash.
	MediaType = 255
	// Address bounds HOST:PORT: a DNS name has at most 253 characters.
	Address = 260
	// RetentionDays bounds how long an agreement may let a recipient keep a document: a hundred years.
	RetentionDays = 36525
)

// The log.
const (
	// Leaf bounds one leaf, so that an entry tile of 256 leaves stays at 1 MiB.
	Leaf = 4 << 10
	// LogFile bounds a file of an exported log: 256 leaves with their lengths. A checkpoint is smaller.
	LogFile = 256 * (2 + Leaf)
	// Private bounds one private field behind a leaf, such as a full decision record.
	Private = 64 << 10
	// Checkpoint bounds a checkpoint with its signatures. An ML-DSA-44 line takes 3.3 KiB; the log's and those of more than half of
	// 63 other members take about 110 KiB.
	Checkpoint = 256 << 10
	// CheckpointLines bounds its signature lines: a signed note may hold 100.
	CheckpointLines = 100
	// Proof bounds an inclusion or consistency proof with its checkpoint: 63 hashes of 45 bytes beside it.
	Proof = Checkpoint + 4<<10
)

// Witnesses.
const (
	// WitnessPatience is how long a node exchanges documents without co-signatures of its quorum, unless configured otherwise. A working
	// day's outage of a line stops nobody; a node cut off so that it does not learn of a suspension stops the same day.
	WitnessPatience = 4 * time.Hour
	// WitnessPatienceTwo is the same in an alliance of two, so that a partner's weekend stops nobody.
	WitnessPatienceTwo = 7 * 24 * time.Hour
	// WitnessPatienceLeast and WitnessPatienceMost bound what a member may configure: less than a heartbeat or two would stop an idle
	// node, and after a month nobody remembers what the log was like.
	WitnessPatienceLeast = time.Minute
	WitnessPatienceMost  = 30 * 24 * time.Hour
	// WitnessHurry is how long somebody who hands in a document waits for co-signatures, when patience has run out, before it is refused.
	WitnessHurry = 2 * time.Second
	// HurryPause is the least pause between two times at which witnesses that failed are asked before their time because somebody waits.
	// Whoever waits does so longer: WitnessHurry, ProveWait.
	HurryPause = time.Second
	// RoundPause is the least pause between two times at which a log that grows is signed and brought to its witnesses. Each takes two nodes some
	// milliseconds of work, which a busy log shares among all that was recorded meanwhile.
	RoundPause = 50 * time.Millisecond
	// RoundPauseMost is that pause when the log has been growing for a while and nobody waits for co-signatures: at RoundPause rounds take a quarter
	// of a busy processor. It is a quarter of the second to which evidence tells since when a leaf was witnessed, see CosignedSpans.
	RoundPauseMost = 250 * time.Millisecond
	// WitnessCall bounds one question to a witness.
	WitnessCall = 10 * time.Second
	// WitnessLook is how often a node looks whether another program, such as a command beside it, has written to its log.
	WitnessLook = 2 * time.Second
	// Heartbeat is how often an idle log says again how large it is, so that its witnesses and its own node know that they still hear
	// each other.
	Heartbeat = 10 * time.Minute
	// GossipPause is the least pause between two messages in which a node tells a peer what checkpoints of others it has seen.
	GossipPause = time.Second
	// Fork bounds a fork proof: two checkpoints of 3.5 KiB without co-signatures, and 64 hashes.
	Fork = 16 << 10
)

// CosignedSpans says how many co-signed checkpoints are kept, each of which takes 7 KiB or more: of those older than Older the first of
// each Span. So evidence tells since when a leaf was witnessed to about a second, after an hour to the minute, after a day to the hour.
var CosignedSpans = []struct{ Older, Span time.Duration }{{0, time.Second}, {time.Hour, time.Minute}, {24 * time.Hour, time.Hour}}

// The listener for whoever is no member, and what we ask such witnesses. Nobody there is known, so the bounds are tight.
const (
	// ForeignLogs bounds the logs of third parties that a node witnesses.
	ForeignLogs = 64
	// WitnessAnswer bounds what a witness answers: two lines of ours take 3.5 KiB, and C2SP lets it answer with several keys.
	WitnessAnswer = 64 << 10
	// PublicRequests bounds the requests that are worked on at once. Those that still arrive are bounded by Unauthenticated connections,
	// each with a Proof in memory: 65 MiB in all.
	PublicRequests = 32
	// PublicHeader bounds a request's header. Ours have three short lines.
	PublicHeader = 8 << 10
	// PublicCall is how long one request may take to arrive, from its first byte.
	PublicCall = 10 * time.Second
	// PublicIdle ends a connection on which nothing is asked. A log asks at least every Heartbeat, and connects again for it.
	PublicIdle = time.Minute
	// PublicAge ends a connection after the request under way, so that who keeps asking does not keep others' places.
	PublicAge = 10 * time.Minute
)

// Evidence.
const (
	// Evidence bounds an evidence file: charters, cards and agreement, manifest, receipts, and a co-signed checkpoint for each leaf.
	Evidence = 16 << 20
	// EvidenceFiles bounds its parts: the amendments of twenty years, several cards for each member, and 128 leaves with their proofs.
	EvidenceFiles = 4096
	// ProveWait is how long evidence waits for a quorum to co-sign a leaf that is new. A round takes a fraction of a second.
	ProveWait = 3 * time.Second
	// ProveLook is how often a command beside the node looks whether a quorum has.
	ProveLook = 20 * time.Millisecond
	// ProveCall bounds the question to the other party for its leaves; it may wait as well. Without an answer, the file is made without them.
	ProveCall = 15 * time.Second
	// ExchangeLeaves bounds the leaves about one exchange that evidence names: what happens to one document, and re-openings.
	ExchangeLeaves = 64
)

// Double entry.
const (
	// ReconcileEntries bounds the leaves of each side that one reconciliation compares.
	ReconcileEntries = 10000
	// ReconcileListed bounds each of the three lists in a reconciliation. What is beyond is counted; whoever has more than that to
	// explain reconciles a shorter period. Three full lists take 230 KiB.
	ReconcileListed = 300
	// Reconciliation bounds a reconciliation with both signatures.
	Reconciliation = 256 << 10
)

// Policies. Their parser is recursive and its stack is finite.
const (
	// Policy bounds a policy text. The base rules take less than a fifth of it.
	Policy = 64 << 10
	// PolicyNesting bounds how deep brackets, braces, parentheses and conditionals stand in each other. Rules that people
	// write need fewer than ten.
	PolicyNesting = 64
	// PolicyOperations bounds what one rule does in its conditions, not counting literals. The base rules have fewer than 40, and for some
	// mistakes the validator takes a time that grows with the square.
	PolicyOperations = 512
	// PolicyError bounds what is said about a mistake in a policy: names in it may be as long as the policy.
	PolicyError = 300
	// RuleNames bounds, in bytes, the names of the rules that a decision lists. With them, 64 peers and the commitments a leaf is full.
	RuleNames = 1200
	// ReasonsText bounds the reasons of one decision: as much again stands escaped in its record, and both must leave room for the facts.
	ReasonsText = 16 << 10
)

// Agreements on their way, and releases that wait.
const (
	// Proposals bounds the open proposals that one member may have made here: each takes up to an Agreement and waits for people to read it.
	Proposals = 32
	// ProposalsKept bounds the proposals of one member that came to nothing, which are kept to tell why: one a week for twenty years. With another
	// party that declines, it could have any number of texts stored here for ever.
	ProposalsKept = 1000
	// ProposalAge is when an open proposal that nobody concluded ends. Contracts are signed within weeks.
	ProposalAge = 90 * 24 * time.Hour
	// InFlight is how long after a newer version of an agreement has begun a recipient still takes what was released under the one before:
	// as long as the outbox tries unless the sender says otherwise.
	InFlight = 7 * 24 * time.Hour
	// Waiting bounds the releases of one member that wait for a second person. Each holds its sealed document.
	Waiting = 1000
	// WaitingAge is how long a release waits for a second person at most, also where its deadline for delivery is later: a working week
	// with its weekend. What nobody has looked at by then was forgotten, and lies here sealed for nothing.
	WaitingAge = 7 * 24 * time.Hour
	// HouseFiles bounds the files of a member's own rules, which together have at most Policy bytes.
	HouseFiles = 32
	// Rehearsals bounds how often one member may ask in a minute what this one would decide. Each is a leaf.
	Rehearsals = 60
	// RehearseCall bounds one question to a member what it would decide; whoever asks waits for it.
	RehearseCall = 10 * time.Second
)

// Time.
const (
	// ClockSkew is how far two honest clocks may differ. Kerberos made five minutes customary.
	ClockSkew = 5 * time.Minute
	// CertificateLife is how long a certificate of ours lives. A node issues itself a new one in time; a person gets one with entente person add.
	CertificateLife = 365 * 24 * time.Hour
	// AuthorityLife is how long a member's CA lives. It is replaced with a new card, not by expiry in passing.
	AuthorityLife = 10 * 365 * 24 * time.Hour
	// CertificateRenewal is how long before the end of its certificate a node issues itself a new one: long enough to notice that it cannot.
	CertificateRenewal = 90 * 24 * time.Hour
	// CertificateWarning is when the node begins to warn before a certificate of its own expires.
	CertificateWarning = 30 * 24 * time.Hour
	// KeyRetirement is how long a key that a newer card replaced is still accepted: what was signed with it may be on its way,
	// and a node may have been away.
	KeyRetirement = 30 * 24 * time.Hour
	// Adoption is how long a draft of a charter waits for its signatures.
	Adoption = 90 * 24 * time.Hour
	// AmendmentWait is how long a draft of an amendment waits for its signatures, unless its author says otherwise. Until then its signers
	// sign no other one above the same version, so it is two weeks and not three months.
	AmendmentWait = 14 * 24 * time.Hour
)

// The wire.
const (
	// Chunk is how much of a document travels in one message. 256 KiB gave the best throughput on loopback.
	Chunk = 256 << 10
	// FirstChunk is how much travels in the first message of a payload; each further one takes twice as much, up to Chunk. So a line that breaks
	// after every 64 KiB still brings something: a message counts when the whole of it has arrived.
	FirstChunk = 16 << 10
	// PayloadRow is the largest payload that is kept in the database, with its manifest: one that comes at once, in the first message. A file of its own
	// takes two more waits for the disk and, so small, more time than all that is written of it; a larger one would only fill the write-ahead log.
	PayloadRow = FirstChunk
	// Message bounds one gRPC message, in either direction.
	Message = 1 << 20
	// HeaderList bounds the header list of a call. gRPC's default of 16 MiB invites abuse.
	HeaderList = 16 << 10
	// Request bounds what another member may send in one message without being asked: the largest amendment with the card of a newcomer, with
	// room for what protobuf adds. gRPC reads all of it before anybody can look at it, so with PeerStreams this bounds the memory
	// that a member can take.
	Request = Charter + Statement + 16<<10
	// ConnectionBuffer is what is read of a connection at once: a TLS record.
	ConnectionBuffer = 16 << 10
	// Memory is what a node's process tries to stay below: as it comes near, garbage is collected sooner. What sixteen members can have begun
	// here, with PeerStreams and Request, takes 350 MiB; work itself takes less than 100.
	Memory = 352 << 20
	// FramesFree is how many HTTP/2 frames a stream's data may come in, however little is in them.
	FramesFree = 64
	// FrameData is how much must be in each beyond that, on average. Programs fill frames of 16 KiB; each takes us about a hundred bytes
	// beside its data.
	FrameData = 4 << 10
	// FrameRate and FrameBurst bound the frames of a connection in a second that hold neither data nor headers: window updates, pings,
	// resets. A program needs a few for each megabyte.
	FrameRate  = 2000
	FrameBurst = 4000
	// PeerStreams bounds the streams of one connection, and of one caller over all its connections.
	PeerStreams = 64
	// StreamWorkers is how many goroutines of a server wait for streams, for life: more streams at once get one each for themselves. A new goroutine's
	// stack grows several times, by copying, until a commit fits in.
	StreamWorkers = 16
	// StreamWindow is the flow-control window of one stream: enough for a fast line, given the bound on the connection.
	StreamWindow = 1 << 20
	// ConnectionWindow bounds what one connection can make us buffer.
	ConnectionWindow = 2 << 20
	// Unauthenticated bounds connections whose handshake is not done.
	Unauthenticated = 256
	// Connections bounds the connections of one listener in all: 64 members, and reconnections.
	Connections = 512
	// Handshake bounds a TLS and HTTP/2 handshake.
	Handshake = 5 * time.Second
	// ProgressBytes must arrive in each ProgressTime, or the stream is cut as stalled.
	ProgressBytes = 64 << 10
	// ProgressTime is the window in which ProgressBytes must arrive.
	ProgressTime = 30 * time.Second
	// StandingCheck is how often a long stream looks again whether its peer is still in good standing, or its person still listed.
	// With it a suspended member, and a person who was removed, are refused within 5 s on open streams too.
	StandingCheck = 2 * time.Second
	// Call bounds a call that moves no document.
	Call = 30 * time.Second
)

// How long connections live. TCP itself would keep a dead one for hours.
const (
	// PingAfter is the silence after which the other end is asked whether it is there. Shorter wastes traffic, longer keeps
	// dead peers.
	PingAfter = 30 * time.Second
	// PingWait is how long it may take to answer.
	PingWait = 10 * time.Second
	// PingLeast must lie between two questions; who asks more often is cut off.
	PingLeast = 10 * time.Second
	// Idle ends a connection without a call. Coming back costs one handshake.
	Idle = 15 * time.Minute
	// Age ends a connection however busy it is, so that the certificate is shown again.
	Age = time.Hour
	// AgeGrace lets streams under way finish then; a transfer that is cut goes on where it was.
	AgeGrace = 12 * time.Hour
	// Scrape is how long somebody who reads the metrics may take, from the handshake to the last byte. Prometheus itself waits 10 seconds
	// unless it is told otherwise.
	Scrape = 10 * time.Second
	// Metrics bounds their text. With as many members as there may be it has some 300 KiB.
	Metrics = 4 << 20
)

// What one peer may take.
const (
	// PeerStaged bounds the bytes stored and staged for one peer, unless the configuration says otherwise.
	PeerStaged int64 = 64 << 30
	// DocumentOverhead counts for each document beside its payload and header: rows, receipts and leaf take about 6 KiB, and
	// files take whole blocks. Without it, tiny documents would be free.
	DocumentOverhead = 8 << 10
	// DiskFree is what is kept free of the disk, unless the configuration says otherwise: the database's write-ahead log, and what the documents
	// under way still have to write down.
	DiskFree int64 = 64 << 20
	// RoomStep is after how much of a document of unknown size it is asked again whether there is room.
	RoomStep = 16 << 20
	// WriteSoon is after how much of a file that is being written the disk is told to begin: enough that it is written in one go, and so little that the
	// sync in the end waits for little.
	WriteSoon = 1 << 20
	// StagingAge is when a staging file that does not grow is dropped.
	StagingAge = 7 * 24 * time.Hour
	// PartialNote is how much of a file that arrives is lost at most when the program is killed: after as much a note says how far it is.
	// One takes 128 bytes, and 64 GiB of them 8 MiB.
	PartialNote = 1 << 20
	// PartialSync is after how much a file that arrives is synced. Twice that is what a power cut can take, because the next piece comes in
	// while the disk is busy; much less, and slow disks would do nothing but sync.
	PartialSync = 32 << 20
	// UnfinishedAge is when a file that was being written beside the one it was to replace is given up. That takes milliseconds; a crash leaves
	// one.
	UnfinishedAge = time.Minute
	// DocumentRate and DocumentBurst bound the deliveries and later receipts that one peer begins in a second: more than a node can make durable.
	// What they cost is bounded by PeerStaged and PeerLeavesPerMinute; this bounds the rest, which is to verify signatures.
	DocumentRate  = 10000
	DocumentBurst = 10000
	// QuestionRate and QuestionBurst bound the other calls of one peer. A busy log asks for a few co-signatures in a second; evidence for
	// a whole archive asks once for each exchange.
	QuestionRate  = 500
	QuestionBurst = 2000
	// WholeLogRate and WholeLogBurst bound the calls that read all of a log. People ask for them, a few times a day.
	WholeLogRate  = 1
	WholeLogBurst = 60
	// PeerLeavesPerMinute bounds the leaves that one peer's bad requests can cause.
	PeerLeavesPerMinute = 60
)

// The process's own log, as far as others can fill it.
const (
	// LogPause is how long nothing more is said of what the same peer does wrong in the same way. Then it is said how often it did.
	LogPause = time.Minute
	// LogSubjects bounds what is told apart. Members are few; addresses of strangers are not.
	LogSubjects = 256
)

// The outbox.
const (
	// RetryFirst is the pause after the first failed attempt; it doubles with each further one.
	RetryFirst = 500 * time.Millisecond
	// RetryMost bounds the pause before a connection is tried again, and others that are not longer for a machine that sleeps or a clock that is set.
	RetryMost = time.Minute
	// RetryLongest bounds the pause of something in the outbox. A peer that comes back is noticed sooner: whatever is heard of it makes due what waits for it.
	RetryLongest = time.Hour
	// RetryHeard is the least time between two such hastenings for one peer: one that calls us, and cannot be called, would have everything tried all the time.
	RetryHeard = time.Minute
	// RetryProgress is the pause after an attempt that was cut off, but brought the document further than the one before.
	RetryProgress = 50 * time.Millisecond
	// SmallDocument is the largest ciphertext that a line carries in a moment. Larger ones go behind those.
	SmallDocument = 1 << 20
	// RetryRefused is the pause after a peer's node refused an agreement: what would change its mind, people do.
	RetryRefused = time.Hour
	// Deliveries bounds the attempts under way at once with one peer. There is no bound over all peers: whoever is slow or
	// silent would use it up and keep the others waiting.
	Deliveries = 8
	// DeliveriesEach is how many of them may be large, or may be small: one place is left for those of the other size.
	DeliveriesEach = Deliveries - 1
	// DueEach bounds what the outbox looks at for one peer and size: what is under way with it, and as much again to go on with.
	DueEach = 2 * Deliveries
	// Fresh is how many items that were just put into the outbox may wait to be tried without being looked for: a few for each that is under way.
	Fresh = 64
	// Answer is how long a recipient may take to answer an offer or a payload. It may have to hash 64 GiB that it holds from
	// before, and to sync as much.
	Answer = 10 * time.Minute
	// WALPages is after how many pages SQLite folds its write-ahead log into the database, in the middle of a commit: 16 MiB of it. The later, the
	// fewer pages are written twice; by default it is after 1,000, which is every 30 exchanges.
	WALPages = 4000
	// SharedCommit bounds the updates that share one commit. What they change stays in memory until then, up to 20 KiB each, and whoever came first
	// waits for the last of them.
	SharedCommit = 64
	// Remembered bounds what is remembered of each kind because finding it out again takes long: verified agreements, parsed keys and files. The
	// largest, an agreement, takes up to a few hundred KiB, but an alliance has tens of them.
	Remembered = 256
	// OthersLook is how often a node looks whether another program, such as a command beside it, has added a charter, card, agreement or notice. What
	// the node itself adds it knows at once.
	OthersLook = 100 * time.Millisecond
	// Page is how many rows a reader takes at once, so that no reader holds the database for long.
	Page = 1000
)

// A compliance report. What is beyond these bounds is counted and not listed, unless it says otherwise.
const (
	// ReportExchanges bounds the exchanges that a report lists: about a hundred and fifty pages, which is more than anybody reads.
	ReportExchanges = 5000
	// ReportExceptions bounds the exceptions of one class that a report lists. A peer can cause refusals by the thousand, and they
	// must not hide the rest.
	ReportExceptions = 200
	// ReportLeaves bounds the leaves that a report names for one exchange; each reopening is one.
	ReportLeaves = 50
	// ReportRows bounds the rows of a table by label or purpose: peers choose these words in what they send.
	ReportRows = 100
	// ReportCounted bounds the exchanges that a report counts; with more it is refused, for a shorter period. Each takes about
	// 40 bytes of memory.
	ReportCounted = 1 << 20
	// ReportDays bounds the period of a report: ten years.
	ReportDays = 3660
)

// The check of a home in the background.
const (
	// CheckBytes is how many bytes of documents are read a second. Disks read ten times as fast, so nobody notices; and all that one peer may
	// store (PeerStaged) is read in little over an hour.
	CheckBytes = 16 << 20
	// CheckShare is how many times as long as a piece of work took the check rests after it: so it takes a tenth of one core.
	CheckShare = 9
	// CheckBusy is how many times as long it rests while anything is under way, documents above all: so it takes a fiftieth of one core.
	CheckBusy = 5
	// CheckPause is how long it rests after it went through everything.
	CheckPause = 24 * time.Hour
	// CheckFirst is how long after the start of a node the first check begins: after what people wait for.
	CheckFirst = 5 * time.Second
	// CheckAgain is how often what was found damaged is looked at again: somebody may have brought it back.
	CheckAgain = 10 * time.Second
	// Damaged bounds what is kept apart. A home with more than that is a heap of ruins, and its list would be one more of them.
	Damaged = 10000
	// DamagedFile bounds the file that lists it.
	DamagedFile = Damaged * 2 * Line
)
