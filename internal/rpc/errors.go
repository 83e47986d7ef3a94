package rpc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// detailBytes bounds the Fault that travels with a status. A status travels in trailers, in base64 and partly twice, and
// those are bounded by limit.HeaderList.
const detailBytes = 6 << 10

// What the answer says about a message that breaks the rules in the .proto files.
const (
	violations     = 3   // that it names; the others are counted
	violationBytes = 160 // of each
)

// codeOf is the code of a kind. The kind itself travels in the detail, so the codes need not differ; they are for tools
// that know only gRPC.
func codeOf(k fault.Kind) codes.Code {
	switch k {
	case fault.Misused, fault.Invalid:
		return codes.InvalidArgument
	case fault.Refused:
		return codes.FailedPrecondition
	case fault.NotFound:
		return codes.NotFound
	case fault.Conflict:
		return codes.AlreadyExists
	case fault.Forbidden:
		return codes.PermissionDenied
	case fault.Transient:
		return codes.Unavailable
	case fault.Failed:
	}
	return codes.Internal
}

// kindOf is the kind of a status that brings no Fault: one of gRPC itself, or of a server that is not ours.
func kindOf(c codes.Code) fault.Kind {
	switch c {
	case codes.InvalidArgument, codes.OutOfRange:
		return fault.Invalid
	case codes.NotFound:
		return fault.NotFound
	case codes.AlreadyExists, codes.FailedPrecondition, codes.Aborted:
		return fault.Conflict
	case codes.PermissionDenied, codes.Unauthenticated:
		return fault.Forbidden
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled:
		return fault.Transient
	}
	return fault.Failed
}

// answer is an error that a handler returned, together with what the caller sees of it.
type answer struct {
	err      error          // for our log
	status   *status.Status // for the caller
	incident string         // in both, if they differ
}

// Error gives the whole of it, for our log.
func (a *answer) Error() string {
	if a.incident == "" {
		return a.err.Error()
	}
	return incidentWord + a.incident + ": " + a.err.Error()
}

// incidentWord begins what our log says of an error that the caller knows only by its number.
const incidentWord = "incident "

// GRPCStatus gives what the caller sees.
func (a *answer) GRPCStatus() *status.Status { return a.status }

// toStatus turns what a handler returns into an error that gRPC sends: a fault travels with its kind, text, hint and
// reasons; anything else becomes "failed", with the number of an incident under which our log says more. Towards the
// outside, which our own people are not, faults that speak of us instead of the caller are hidden as well.
func toStatus(err error, outside bool) error {
	if err == nil {
		return nil
	}
	// Not errors.As: a status that is wrapped in something of ours came from somewhere else, and is not meant for our caller.
	if s, ok := err.(interface{ GRPCStatus() *status.Status }); ok { //nolint:errorlint // see above
		return short(s.GRPCStatus()).Err() // short in our log as well
	}
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		// What a peer did wrong, it may know in full. Our disk and our paths are none of its business.
		ours := f.Kind == fault.Failed || f.Kind == fault.Transient && f.Err != nil
		if outside && ours {
			return hide(err, f.Kind)
		}
		return &answer{err: err, status: withDetail(f)}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &answer{err: err, status: status.FromContextError(err)}
	}
	return hide(err, fault.Failed)
}

// short makes a status that gRPC or an interceptor gave fit into the headers. The validation of messages lists every bound that one
// violates, twice, and a message may violate thousands: then the call would end without any status.
func short(s *status.Status) *status.Status {
	for _, d := range s.Details() {
		v, ok := d.(*validate.Violations)
		if !ok {
			continue
		}
		text, broken := "validation error", v.GetViolations()
		for i, b := range broken[:min(len(broken), violations)] {
			text += []string{": ", "; "}[min(i, 1)] + clip(protovalidate.FieldPathString(b.GetField())+": "+b.GetMessage(), violationBytes)
		}
		if more := len(broken) - violations; more > 0 {
			text += fmt.Sprintf("; and %d more", more)
		}
		return status.New(s.Code(), printable(text))
	}
	return status.New(s.Code(), printable(s.Message()))
}

// hide keeps an error to ourselves and gives the caller a number to ask about.
func hide(err error, kind fault.Kind) error {
	incident := rand.Text()[:10]
	text := "the node failed; its own log says why, under incident " + incident
	if kind == fault.Transient {
		text = "the node cannot do this now; its own log says why, under incident " + incident
	}
	return &answer{err: err, status: withDetail(&fault.Error{Kind: kind, Text: text}), incident: incident}
}

func withDetail(f *fault.Error) *status.Status {
	detail := &ententev1.Fault{Kind: f.Kind.String(), Text: printable(f.Text), Hint: printable(fault.Hint(f))}
	for _, r := range f.Reasons {
		detail.Reasons = append(detail.Reasons, &ententev1.Reason{
			Set: printable(r.Set), Rule: printable(r.Rule), Text: printable(r.Text), Needs: printable(r.Needs)})
	}
	for n := len(detail.Reasons); proto.Size(detail) > detailBytes; n-- {
		left := len(f.Reasons) - n + 1
		detail.Reasons = append(detail.Reasons[:n-1], &ententev1.Reason{Text: fmt.Sprintf("%d more reasons, too long to be sent", left)})
	}
	s := status.New(codeOf(f.Kind), detail.GetText())
	if full, err := s.WithDetails(detail); err == nil {
		return full
	}
	return s
}

// FromStatus turns an error that a call returned into a fault. What is one already, nil and io.EOF stay as they are.
// All texts are made printable, since they come from somebody else. The connections of this package do this themselves.
func FromStatus(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // gRPC says exactly io.EOF at the end of a stream
		return err
	}
	if f, ok := err.(*fault.Error); ok { //nolint:errorlint // a fault that is wrapped in a status is not one of ours
		return f
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range s.Details() {
		if f, ok := d.(*ententev1.Fault); ok {
			return fromDetail(f)
		}
	}
	f := &fault.Error{Kind: kindOf(s.Code()), Text: printable(s.Message())}
	switch s.Code() {
	case codes.Canceled:
		f.Err = context.Canceled
	case codes.DeadlineExceeded:
		f.Err = context.DeadlineExceeded
	case codes.Unimplemented:
		f.Hint = "compare the versions of the two programs: entente version"
	}
	return f
}

func fromDetail(d *ententev1.Fault) *fault.Error {
	f := &fault.Error{Kind: fault.ParseKind(d.GetKind()), Text: printable(d.GetText()), Hint: printable(d.GetHint())}
	for _, r := range d.GetReasons()[:min(len(d.GetReasons()), limit.Reasons)] {
		f.Reasons = append(f.Reasons, statement.Reason{
			Set: printable(r.GetSet()), Rule: printable(r.GetRule()), Text: printable(r.GetText()), Needs: printable(r.GetNeeds())})
	}
	return f
}

// printable bounds a text to limit.Line bytes of valid UTF-8 and replaces what would move a terminal's cursor, hide, or
// change the direction of the text.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r != utf8.RuneError && !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return clip(s, limit.Line)
}

// clip cuts a text to so many bytes.
func clip(s string, most int) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most-len("…")], "") + "…"
	}
	return s
}

func translateUnary(outside bool) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		resp, err := handler(ctx, req)
		return resp, toStatus(err, outside)
	}
}

func translateStream(outside bool) grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return toStatus(handler(srv, s), outside)
	}
}
