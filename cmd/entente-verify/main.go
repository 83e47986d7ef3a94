// Entente-verify says what an evidence file proves, to somebody who trusts neither side and has no network.
//
//	entente-verify FILE --charter HASH [--document FILE --name NAME --media-type TYPE] [--json]
//
// It needs nothing but the file and the hash of the alliance's founding charter. It exits with 0 only if the file is valid, with 1 if it is
// not or could not be read, and with 2 if it was called wrongly.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"entente.example/internal/evidence"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// The exit codes, which scripts rely on.
const (
	exitValid   = 0
	exitInvalid = 1
	exitMisused = 2
)

const usage = `Entente-verify says what an evidence file proves.

    entente-verify FILE --charter HASH [--document FILE --name NAME --media-type TYPE] [--json]

FILE        the evidence, made by "entente evidence export"; - reads standard input
--charter   the hash of the alliance's founding charter, 64 hex digits, which you learn from
            a member that you trust, not from the file. Without it nothing is valid.
--document  a document to compare with what the sender committed to, with
            --name (its file name, default: that of the document) and
            --media-type (default: what goes with the name), as they were sent
--json      print JSON

Exit codes: 0 valid; 1 not valid, or not readable; 2 wrong usage.
It reads no network, no configuration and no other file.
`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// arguments are what the program was called with.
type arguments struct {
	file, charter, document, name, mediaType string
	json                                     bool
}

// run runs the program and gives its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() {
		if recover() != nil { // the verifier recovers by itself; what is around it may be wrong too
			fmt.Fprintln(stderr, "not valid: the program failed")
			code = exitInvalid
		}
	}()
	var a arguments
	var o evidence.Options
	err := a.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, err = io.WriteString(stdout, usage)
		return exitOf(err)
	}
	if err == nil && a.charter != "" {
		err = o.Charter.UnmarshalText([]byte(a.charter))
	}
	if err != nil {
		fmt.Fprintf(stderr, "wrong usage: %v\nsee: entente-verify --help\n", err)
		return exitMisused
	}
	v, err := verify(a, o, stdin)
	if err != nil {
		fmt.Fprintf(stderr, "not valid: %v\n", err)
		return exitInvalid
	}
	if err := show(stdout, v, a.json); err != nil || !v.Valid {
		return exitInvalid // what could not be said was not said
	}
	return exitValid
}

func exitOf(err error) int {
	if err != nil {
		return exitInvalid
	}
	return exitValid
}

// parse reads flags and the one file, in any order.
func (a *arguments) parse(args []string) error {
	f := flag.NewFlagSet("entente-verify", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&a.charter, "charter", "", "")
	f.StringVar(&a.document, "document", "", "")
	f.StringVar(&a.name, "name", "", "")
	f.StringVar(&a.mediaType, "media-type", "", "")
	f.BoolVar(&a.json, "json", false, "")
	var files []string
	for rest := args; ; {
		if err := f.Parse(rest); err != nil {
			return err
		}
		if f.NArg() == 0 {
			break
		}
		files, rest = append(files, f.Arg(0)), f.Args()[1:]
	}
	switch {
	case len(files) != 1 || files[0] == "":
		return errors.New("name exactly one evidence file")
	case a.document == "" && a.name+a.mediaType != "":
		return errors.New("--name and --media-type are those of a --document")
	}
	a.file = files[0]
	if a.name == "" {
		a.name = filepath.Base(a.document)
	}
	if a.mediaType == "" {
		a.mediaType = statement.MediaType(a.name)
	}
	return nil
}

func verify(a arguments, o evidence.Options, stdin io.Reader) (v evidence.Verdict, err error) {
	raw, err := read(a.file, stdin)
	if err != nil {
		return v, err
	}
	o.Now = time.Now()
	if a.document != "" {
		f, err := os.Open(a.document)
		if err != nil {
			return v, fmt.Errorf("the document cannot be read: %w", err)
		}
		defer f.Close()
		o.Document, o.Name, o.MediaType = f, a.name, a.mediaType
	}
	return evidence.Verify(raw, o), nil
}

// read reads an evidence file, and nothing that is larger than one can be: neither memory nor time is spent on it.
func read(name string, stdin io.Reader) ([]byte, error) {
	from := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("the file cannot be read: %w", err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("the file cannot be read: %w", err)
		}
		if info.Size() > limit.Evidence {
			return nil, fmt.Errorf("%q has %d bytes, and evidence has at most %d", name, info.Size(), limit.Evidence)
		}
		from = f
	}
	raw, err := io.ReadAll(io.LimitReader(from, limit.Evidence+1))
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", err)
	}
	if len(raw) > limit.Evidence {
		return nil, fmt.Errorf("it has more than %d bytes, and evidence has at most as many", limit.Evidence)
	}
	return raw, nil
}

// show prints a verdict.
func show(w io.Writer, v evidence.Verdict, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	}
	_, err := io.WriteString(w, v.Text())
	return err
}
