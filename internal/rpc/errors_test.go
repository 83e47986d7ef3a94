package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// wire sends an error through the bytes of a status, as gRPC does.
func wire(t *testing.T, err error) error {
	t.Helper()
	raw, e := proto.Marshal(status.Convert(err).Proto())
	if e != nil {
		t.Fatal(e)
	}
	p := status.New(codes.OK, "").Proto()
	if e := proto.Unmarshal(raw, p); e != nil {
		t.Fatal(e)
	}
	return status.FromProto(p).Err()
}

func TestFaultsCrossTheWire(t *testing.T) {
	t.Parallel()
	reasons := []statement.Reason{{Set: "base", Rule: "base/label", Text: "TLP:RED is above TLP:AMBER", Needs: "a label up to TLP:AMBER"}, {Set: "house", Rule: "h1"}}
	for kind := fault.Failed; kind <= fault.Transient; kind++ {
		want := &fault.Error{Kind: kind, Text: "“quoted” text, 100 %", Hint: "do that", Reasons: reasons}
		got := FromStatus(wire(t, toStatus(want, false)))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", kind, got, want)
		}
		if again := FromStatus(got); again != got { //nolint:errorlint // the very same
			t.Errorf("%s: changed the second time", kind)
		}
		if code := status.Code(toStatus(want, false)); code == codes.OK || code == codes.Unknown || kind != fault.Misused && kindOf(code) != kind && kind != fault.Refused {
			t.Errorf("%s has code %s", kind, code)
		}
	}
	inner := fault.New(fault.Invalid, "the hint", "inside")
	outer := FromStatus(wire(t, toStatus(fault.New(fault.Conflict, "", "outside: %w", inner), false)))
	if fault.KindOf(outer) != fault.Conflict || outer.Error() != "outside: inside" || fault.Hint(outer) != "the hint" {
		t.Errorf("a fault in a fault arrived as %v (%s, %q)", outer, fault.KindOf(outer), fault.Hint(outer))
	}
}

func TestOtherErrors(t *testing.T) {
	t.Parallel()
	if toStatus(nil, false) != nil || FromStatus(nil) != nil || FromStatus(io.EOF) != io.EOF { //nolint:errorlint // exactly these
		t.Error("nil or io.EOF changed")
	}
	plain := errors.New("plain")
	if got := FromStatus(plain); !errors.Is(got, plain) {
		t.Errorf("got %v", got)
	}
	for code, want := range map[codes.Code]fault.Kind{
		codes.InvalidArgument: fault.Invalid, codes.NotFound: fault.NotFound, codes.AlreadyExists: fault.Conflict,
		codes.PermissionDenied: fault.Forbidden, codes.Unauthenticated: fault.Forbidden, codes.Unavailable: fault.Transient,
		codes.DeadlineExceeded: fault.Transient, codes.Canceled: fault.Transient, codes.ResourceExhausted: fault.Transient,
		codes.Unimplemented: fault.Failed, codes.Internal: fault.Failed, codes.Unknown: fault.Failed, codes.DataLoss: fault.Failed, 99: fault.Failed,
	} {
		if got := FromStatus(status.Error(code, "text")); fault.KindOf(got) != want || got.Error() != "text" {
			t.Errorf("%s: got %v (%s), want %s", code, got, fault.KindOf(got), want)
		}
	}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		if got := FromStatus(wire(t, toStatus(fmt.Errorf("wait: %w", err), false))); !errors.Is(got, err) || fault.KindOf(got) != fault.Transient {
			t.Errorf("%v arrived as %v", err, got)
		}
	}
	// A status that came from elsewhere and was wrapped is not for our caller.
	if got := FromStatus(wire(t, toStatus(fmt.Errorf("ask: %w", status.Error(codes.NotFound, "secret")), false))); strings.Contains(got.Error(), "secret") || fault.KindOf(got) != fault.Failed {
		t.Errorf("got %v", got)
	}
}

// TestStatusFits sends faults as large as they come: they must fit into a header list, or the caller reads nothing.
func TestStatusFits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", limit.Line)
	f := &fault.Error{Kind: fault.Refused, Text: long, Hint: long}
	for range 2 * limit.Reasons {
		f.Reasons = append(f.Reasons, statement.Reason{Set: "base", Rule: "r", Text: long, Needs: long})
	}
	s := status.Convert(toStatus(f, false))
	raw, err := proto.Marshal(s.Proto())
	if err != nil {
		t.Fatal(err)
	}
	if size := len(raw)*4/3 + 3*len(s.Message()); size > limit.HeaderList {
		t.Errorf("takes %d bytes of headers", size)
	}
	var got *fault.Error
	if !errors.As(FromStatus(wire(t, s.Err())), &got) || got.Kind != fault.Refused || len(got.Reasons) == 0 {
		t.Fatalf("got %v", got)
	}
	if last := got.Reasons[len(got.Reasons)-1]; !strings.Contains(last.Text, "more reasons") || len(got.Reasons) < 2 {
		t.Errorf("got %d reasons, the last of them %q", len(got.Reasons), last.Text)
	}
	// Eighty short ones from a hostile server are cut to what a receipt may carry.
	d := &ententev1.Fault{Kind: "refused", Text: "no"}
	for range 80 {
		d.Reasons = append(d.Reasons, &ententev1.Reason{Rule: "r"})
	}
	if got := fromDetail(d); len(got.Reasons) != limit.Reasons {
		t.Errorf("kept %d reasons", len(got.Reasons))
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain “text” – é 漢":                      "plain “text” – é 漢",
		"a\nb\tc\x1b[31m":                         "a\uFFFDb\uFFFDc\uFFFD[31m",
		"right\u202eleft\u200b":                   "right\uFFFDleft\uFFFD",
		"bad \xff utf":                            "bad \uFFFD utf",
		strings.Repeat("x", limit.Line):           strings.Repeat("x", limit.Line),
		strings.Repeat("é", limit.Line/2) + "é":   strings.Repeat("é", limit.Line/2-2) + "…",
		"x" + strings.Repeat("é", limit.Line/2+3): "x" + strings.Repeat("é", limit.Line/2-2) + "…",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// FuzzFromStatus reads statuses that a hostile server made up: whatever they say, it can be printed, and is short.
func FuzzFromStatus(f *testing.F) {
	for _, err := range []error{fault.New(fault.Refused, "hint", "text"), errors.New("x"), status.Error(codes.NotFound, "no")} {
		raw, _ := proto.Marshal(status.Convert(toStatus(err, false)).Proto())
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := status.New(codes.OK, "").Proto()
		if proto.Unmarshal(raw, p) != nil {
			return
		}
		err := FromStatus(status.FromProto(p).Err())
		if err == nil {
			return
		}
		var got *fault.Error
		if !errors.As(err, &got) {
			t.Fatalf("not a fault: %v", err)
		}
		for _, s := range []string{got.Text, got.Hint} {
			if len(s) > limit.Line || !utf8.ValidString(s) || strings.ContainsAny(s, "\x1b\n\r\x00\u202e") {
				t.Fatalf("kept %q", s)
			}
		}
	})
}
