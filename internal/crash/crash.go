// Package crash names the steps after which something is durable, so that a test can end or stop the program before or after each of them,
// or have one report a failure although it was done. It also names mistakes that the program could make and does not, so that a test can
// prove that it would notice.
//
//	err := crash.Step("blob.rename", func() error { return os.Rename(from, to) })
//
// In the program as it is built for people a step is a plain call, and there is nothing to switch on. Only with the build tag torture
// does the environment say where to strike, or which mistake to make; see package torture.
package crash

// The steps, in the order of a document's life. A name stands at one place in the code.
const (
	// A file is written beside, synced, renamed, and its folder synced: configuration, keys, cards.
	FileSync   = "file.sync"
	FileRename = "file.rename"
	FolderSync = "folder.sync"
	// A blob, at the sender and at the recipient.
	StagingSync   = "staging.sync"
	StagingRename = "staging.rename"
	// One transaction of the database, whatever it is for.
	DatabaseCommit = "database.commit"
	// The log's head, outside the database, and the checkpoint that it covers.
	HeadWrite       = "head.write"
	CheckpointStore = "checkpoint.store"
	// What a witness holds of another's log.
	WitnessHead = "witness.head"
	// The facts of an exchange, each with its leaf.
	Released      = "fact.released"
	Received      = "fact.received"
	Delivered     = "fact.delivered"
	Expired       = "fact.expired"
	Opened        = "fact.opened"
	Undecryptable = "fact.undecryptable"
	Confirmed     = "fact.confirmed"
	// What leaves: the answer to a person, a receipt as the answer to a delivery, a later receipt.
	AnswerSend    = "answer.send"
	AnswerDeliver = "answer.deliver"
	HandIn        = "answer.return"
)

// Steps lists them all.
func Steps() []string {
	return []string{
		FileSync, FileRename, FolderSync, StagingSync, StagingRename, DatabaseCommit, HeadWrite, CheckpointStore, WitnessHead,
		Released, Received, Delivered, Expired, Opened, Undecryptable, Confirmed, AnswerSend, AnswerDeliver, HandIn,
	}
}

// The mistakes. Weak tells whether the program is to make one; without the build tag torture it never is.
const (
	// NormalSync: the database's commits do not wait for the disk.
	NormalSync = "normal-sync"
	// NoFolderSync: the name of a file is not made durable.
	NoFolderSync = "no-folder-sync"
	// AnswerFirst: a person is answered before the transaction that keeps the answer true.
	AnswerFirst = "answer-first"
	// FalseCommitment is a dishonest sender's: it signs a commitment that its document does not fulfil.
	FalseCommitment = "false-commitment"
)
