package statement

import (
	"slices"
	"time"

	"entente.example/internal/limit"
)

// NoticeKind says what a notice is about.
type NoticeKind string

// The kinds of notice.
const (
	// Decline says that its author will not sign a proposed agreement. It is final for that text.
	Decline NoticeKind = "decline"
	// Withdraw says that its author is no party to an agreement any more, from Ends on.
	Withdraw NoticeKind = "withdraw"
)

var noticeKinds = []NoticeKind{Decline, Withdraw}

// Notice is a member's message to the other parties of an agreement. See docs/formats/notice.md.
type Notice struct {
	Kind          NoticeKind `toml:"kind"`
	From          string     `toml:"from"`
	To            []string   `toml:"to"` // the other parties, sorted
	Agreement     string     `toml:"agreement"`
	Version       int64      `toml:"version"`
	AgreementHash Hash       `toml:"agreement_sha256"`
	At            time.Time  `toml:"at"`
	Ends          time.Time  `toml:"ends,omitempty"` // of a withdrawal, and not before At
	Reason        string     `toml:"reason,omitempty"`
}

func (Notice) kind() Kind { return KindNotice }
func (Notice) most() int  { return limit.Statement }

func (n Notice) signers() []string { return []string{n.From + "/statement"} }

func (n Notice) validate() error {
	if !slices.Contains(noticeKinds, n.Kind) {
		return wrong("kind", "%.80q is not one of %v", n.Kind, noticeKinds)
	}
	if err := ValidMember(n.From); err != nil {
		return wrong("from", "%v", err)
	}
	if err := memberList(n.To, limit.Members); err != nil {
		return wrong("to", "%v", err)
	}
	if slices.Contains(n.To, n.From) {
		return wrong("to", "the author %q is among them", n.From)
	}
	if err := ValidName(n.Agreement); err != nil {
		return wrong("agreement", "%v", err)
	}
	if n.Version < 1 {
		return wrong("version", "begins with 1")
	}
	if n.AgreementHash.IsZero() {
		return wrong("agreement_sha256", "names no agreement")
	}
	if err := validTime("at", n.At); err != nil {
		return err
	}
	if (n.Kind == Withdraw) == n.Ends.IsZero() {
		return wrong("ends", "stands in a withdrawal, and only there")
	}
	if n.Kind == Withdraw {
		if err := validTime("ends", n.Ends); err != nil {
			return err
		}
		if n.Ends.Before(n.At) {
			return wrong("ends", "is before at")
		}
	}
	if n.Reason == "" {
		if n.Kind == Decline {
			return wrong("reason", "is missing; the others want to know why")
		}
		return nil
	}
	if err := validLine(n.Reason, limit.Line); err != nil {
		return wrong("reason", "%v", err)
	}
	return nil
}
