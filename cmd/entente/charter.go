package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/node"
	"entente.example/internal/statement"
)

func (p *program) charterCommand() *cobra.Command {
	return group(&cobra.Command{
		Use:   "charter",
		Short: "Found an alliance and change it: draft, amend, sign, adopt and show its charter",
		Long: `The charter says who the members of an alliance are. All founders sign it; it
takes e-mail and a telephone, and nobody in the middle has to be trusted:

1. everybody mails the card of their member to one of them (entente card -o)
2. that one writes the founding file (charter draft) and mails it to all
3. everybody compares every fingerprint on the telephone, signs (charter sign),
   and mails the signed file to all
4. everybody merges the signed files and adopts the charter (charter adopt)

docs/founding.md is this procedure with all its commands. Later changes (who is
suspended, admitted, or leaves) are decided by a quorum: see "entente charter
amend".`,
		Example: `entente charter draft alpha.card bravo.card --alliance north-sea -o founding.txt
entente charter sign founding.txt
entente charter adopt founding-alpha.txt founding-bravo.txt`,
	}, p.charterDraft(), p.charterAmend(), p.charterSign(), p.charterAdopt(), p.charterShow())
}

func (p *program) charterDraft() *cobra.Command {
	var alliance, out string
	var witnesses, auditors []string
	var force bool
	cmd := &cobra.Command{
		Use:   "draft CARD...",
		Short: "Write a founding file from the cards of all members",
		Long: `Draft writes a founding file: a charter that lists the members whose cards are
given, and the cards. It signs nothing and needs no home, so anybody can do it;
but one does it, and all sign that one file.

With --witness the charter lists a witness that is no member: anybody who
answers the C2SP protocol tlog-witness at an URL, with a key of its own. All
nodes ask it for its co-signature, and it counts like a member's. Its operator
must know the members' logs first; docs/using.md says how.

With --auditor the charter names a person, of any member, who may read the logs
of all members and verify them, and no document.

What comes next: mail the file to every member. Each compares the fingerprints
and signs with "entente charter sign".

With --json: file, alliance, sha256, founders (name, address, jurisdiction,
fingerprint, signed), and if there are any, outside_witnesses (name, url, key,
mldsa_key) and auditors.`,
		Example: `entente charter draft alpha.card bravo.card charlie.card \
--alliance north-sea -o founding.txt
entente charter draft alpha.card bravo.card --alliance north-sea \
--auditor spiffe://bravo/person/zoe -o founding.txt \
--witness 'university https://witness.example witness.example/w1+1a2b3c4d+BA…'`,
		Args: args("CARD..."),
		RunE: func(_ *cobra.Command, given []string) error {
			cards, err := readFiles(given, limit.Statement)
			if err != nil {
				return err
			}
			draft := node.FoundingDraft{Alliance: alliance, Cards: cards, Auditors: auditors}
			if draft.Witnesses, err = outsideWitnesses(witnesses); err != nil {
				return err
			}
			file, err := node.DraftFounding(draft, p.now())
			if err != nil {
				return err
			}
			if err := writeFile(out, file, force); err != nil {
				return err
			}
			f, err := node.ReadFounding(file)
			if err != nil {
				return err
			}
			if err := p.showFounding(f, out); err != nil {
				return err
			}
			p.next("mail "+out+" to every member", "everybody compares the fingerprints on the telephone, then: entente charter sign "+out)
			return nil
		},
	}
	cmd.Flags().StringVar(&alliance, "alliance", "", "the NAME of the alliance, one lower-case word (required)")
	cmd.Flags().StringVarP(&out, "output", "o", "", "the FILE to write (required)")
	cmd.Flags().StringArrayVar(&witnesses, "witness", nil, "an outside witness: `'NAME URL KEY [MLDSA-KEY]'`, once for each")
	cmd.Flags().StringArrayVar(&auditors, "auditor", nil, "an auditor of all logs: `spiffe://MEMBER/person/NAME`, once for each")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	required(cmd, "alliance", "output")
	return cmd
}

// outsideWitnesses reads what was given with --witness. What it means is checked with the charter.
func outsideWitnesses(given []string) ([]statement.OutsideWitness, error) {
	var list []statement.OutsideWitness
	for _, text := range given {
		f := strings.Fields(text)
		if len(f) != 3 && len(f) != 4 {
			return nil, fault.New(fault.Misused, "give --witness 'NAME URL KEY', with the verifier key that the witness publishes", "%.80q does not name a witness", text)
		}
		w := statement.OutsideWitness{Name: f[0], URL: f[1], Key: f[2]}
		if len(f) == 4 {
			w.MLDSA = f[3]
		}
		list = append(list, w)
	}
	return list, nil
}

func (p *program) charterSign() *cobra.Command {
	var out string
	var yes, force bool
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Sign a charter in a founding file, or a change in an amendment file",
		Long: `Sign shows every founder's name, address and fingerprint, and asks whether they
were compared. Call each founder at a number that you have from elsewhere, and
have the fingerprint read out to you. This is the one moment at which trust
enters; everything later is checked against what is signed here.

Then the member's signature is added to the file, in place or to -o FILE.
Scripts, which cannot telephone, say --yes.

An amendment file is signed likewise, after its content is shown. A newcomer is
also shown whom it joins, and compares that with one of them by telephone. A
member signs only one change above each version of the charter until that
change's adopt_by has passed, and the home remembers which.

What comes next: mail the signed file to all; adopt with "entente charter adopt"
when you have everybody's.

With --json: file, alliance, sha256, founders; of an amendment: file, change,
member, version, sha256, adopt_by, signed, missing.`,
		Example: `entente charter sign founding.txt
entente charter sign founding.txt -o founding-alpha.txt`,
		Args: args("FILE"),
		RunE: func(cmd *cobra.Command, given []string) error {
			target, replace := out, force
			if target == "" {
				target, replace = given[0], true
			}
			return p.signCharter(cmd.Context(), given[0], target, replace, yes)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "write the signed file to FILE (default: in place)")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask: all fingerprints were compared")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that is there already")
	return cmd
}

func (p *program) signCharter(ctx context.Context, path, target string, replace, yes bool) error {
	file, err := readFile(path, limit.AmendmentFile)
	if err != nil {
		return err
	}
	if node.IsAmendment(file) {
		return p.signAmendment(ctx, file, target, replace, yes)
	}
	f, err := node.ReadFounding(file)
	if err != nil {
		return err
	}
	h, err := p.change(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	if !yes {
		if err := p.compared(ctx, f); err != nil {
			return err
		}
	}
	signed, err := h.SignFounding(ctx, file)
	if err != nil {
		return err
	}
	if err := writeFile(target, signed, replace); err != nil {
		return err
	}
	if f, err = node.ReadFounding(signed); err != nil {
		return err
	}
	if err := p.showFounding(f, target); err != nil {
		return err
	}
	if missing := missing(f); missing != "" {
		p.next("mail "+target+" to every member", "still to sign: "+missing)
	} else {
		p.next("everybody has signed: " + p.self() + " charter adopt " + target)
	}
	return nil
}

// compared asks the question on which all trust rests. Only a person in front of the program can answer it.
func (p *program) compared(ctx context.Context, f *node.Founding) error {
	if !p.interactive() || p.json {
		return fault.New(fault.Misused, "run it in a terminal, or say --yes if all fingerprints were compared",
			"somebody must confirm that every fingerprint was compared with its owner, and nobody can be asked here")
	}
	p.note("Alliance %s. Call each founder at a number you know, and compare:\n\n", f.Charter.Terms.Alliance)
	for _, m := range f.Founders {
		p.note("  %s  %s  %s\n", styled(bold.Render(plain(m.Name))), m.Address, m.Jurisdiction)
		p.note("      %s\n", m.Fingerprint)
	}
	if p.confirmed(ctx, "Did you compare every fingerprint with its owner by telephone?") {
		return nil
	}
	return fault.New(fault.Failed, "compare them first; nothing is lost by waiting", "not signed")
}

func missing(f *node.Founding) string {
	var names []string
	for _, m := range f.Founders {
		if !m.Signed {
			names = append(names, m.Name)
		}
	}
	return strings.Join(names, ", ")
}

type founderJSON struct {
	Name         string `json:"name"`
	Address      string `json:"address"`
	Jurisdiction string `json:"jurisdiction,omitempty"`
	Fingerprint  string `json:"fingerprint"`
	Signed       bool   `json:"signed"`
}

func (p *program) showFounding(f *node.Founding, file string) error {
	if p.json {
		list := make([]founderJSON, len(f.Founders))
		for i, m := range f.Founders {
			list[i] = founderJSON{m.Name, m.Address, m.Jurisdiction, m.Fingerprint, m.Signed}
		}
		return p.emit(struct {
			File     string        `json:"file,omitempty"`
			Alliance string        `json:"alliance"`
			Hash     string        `json:"sha256"`
			Founders []founderJSON `json:"founders"`
			besideJSON
		}{file, f.Charter.Terms.Alliance, f.Charter.Hash.String(), list, beside(f.Charter.Terms)})
	}
	p.fields(field{"alliance", f.Charter.Terms.Alliance}, field{"file", file})
	p.printf("\n")
	var rows [][]any
	for _, m := range f.Founders {
		rows = append(rows, []any{m.Name, m.Address, m.Jurisdiction, m.Fingerprint, yesNo(m.Signed)})
	}
	p.table([]string{"MEMBER", "ADDRESS", "JURISDICTION", "FINGERPRINT", "SIGNED"}, rows)
	p.showBeside(f.Charter.Terms)
	return nil
}

// besideJSON is what a charter lists beside its members.
type besideJSON struct {
	Witnesses []witnessJSON `json:"outside_witnesses,omitempty"`
	Auditors  []string      `json:"auditors,omitempty"`
}

type witnessJSON struct {
	Name  string `json:"name"`
	URL   string `json:"url"`
	Key   string `json:"key"`
	MLDSA string `json:"mldsa_key,omitempty"`
}

func beside(c statement.Charter) besideJSON {
	b := besideJSON{Auditors: c.Auditors}
	for _, w := range c.Witnesses {
		b.Witnesses = append(b.Witnesses, witnessJSON{w.Name, w.URL, w.Key, w.MLDSA})
	}
	return b
}

func (p *program) showBeside(c statement.Charter) {
	var rows [][]any
	for _, w := range c.Witnesses {
		rows = append(rows, []any{w.Name, w.URL, statement.KeyID(w.Key), yesNo(w.MLDSA != "")})
	}
	if rows != nil {
		p.printf("\n")
		p.table([]string{"OUTSIDE WITNESS", "URL", "KEY", "POST-QUANTUM"}, rows)
	}
	rows = nil
	for _, a := range c.Auditors {
		rows = append(rows, []any{a})
	}
	if rows != nil {
		p.printf("\n")
		p.table([]string{"AUDITOR OF ALL LOGS"}, rows)
	}
}

func yesNo(b bool) styled {
	if b {
		return styled(good.Render("yes"))
	}
	return styled(wait.Render("no"))
}

func (p *program) charterAdopt() *cobra.Command {
	return &cobra.Command{
		Use:   "adopt FILE...",
		Short: "Merge the signatures of several files, and join or change the alliance",
		Long: `Adopt merges the signatures of several copies of one founding file. If none is
missing, the alliance is this member's own from now on: its node will talk to
exactly these members, with exactly these keys. Adopting it again changes
nothing.

Amendment files are adopted likewise: one member is enough, its node tells all
others. A newcomer adopts the amendment that admits it.

What comes next: add people ("entente person add"), and agree on what may be
shared ("entente agreement draft").

With --json: as "charter show".`,
		Example: `entente charter adopt founding-alpha.txt founding-bravo.txt`,
		Args:    args("FILE..."),
		RunE: func(cmd *cobra.Command, given []string) error {
			files, err := readFiles(given, limit.AmendmentFile)
			if err != nil {
				return err
			}
			if len(files) > 0 && node.IsAmendment(files[0]) {
				return p.adoptAmendment(cmd.Context(), files)
			}
			h, err := p.change(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			history, err := h.AdoptFounding(cmd.Context(), p.now(), files...)
			if err != nil {
				return err
			}
			if err := p.showCharter(h.Config.Member, history); err != nil {
				return err
			}
			p.next(p.self()+" person add NAME --role releaser,reader --label LABEL --trained-until DAY", p.self()+" agreement draft NAME --parties …")
			return nil
		},
	}
}

func (p *program) charterShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show the alliance, its members and their standing",
		Long: `Show prints the charter in force as this home knows it: the members, where
they are reached, the fingerprints of their cards, and their standing. Only
members in good standing may exchange documents.

While the charter is forked, show says which two versions there are, and who is
in doubt.

Evidence is verified with the hash of the founding charter, which stays the same
whatever changes later.

With --json: alliance, founding_sha256, sha256, version, fork if there is one
(of_sha256, sha256, concerned), self, and members (name, address, jurisdiction,
standing, fingerprint, card_sha256), and if there are any, outside_witnesses
(name, url, key, mldsa_key) and auditors.`,
		Example: `entente charter show
entente charter show --json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := p.read(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			history, err := h.History(cmd.Context())
			if err != nil {
				return err
			}
			return p.showCharter(h.Config.Member, history)
		},
	}
}

type memberJSON struct {
	Name         string `json:"name"`
	Address      string `json:"address"`
	Jurisdiction string `json:"jurisdiction,omitempty"`
	Standing     string `json:"standing"`
	Fingerprint  string `json:"fingerprint"`
	Card         string `json:"card_sha256"`
}

func (p *program) showCharter(self string, h *member.History) error {
	if p.json {
		var list []memberJSON
		for _, m := range h.Members() {
			list = append(list, memberJSON{m.Name, m.Address, m.Jurisdiction, m.Standing, statement.Fingerprint(m.Card), m.Card.String()})
		}
		return p.emit(struct {
			Alliance string           `json:"alliance"`
			Founding string           `json:"founding_sha256"`
			Hash     string           `json:"sha256"`
			Version  int64            `json:"version"`
			Fork     *charterForkJSON `json:"fork,omitempty"`
			Self     string           `json:"self"`
			Members  []memberJSON     `json:"members"`
			besideJSON
		}{h.Name(), h.Alliance().String(), h.Newest().String(), h.Version(), describeFork(h), self, list, beside(h.Charter().Terms)})
	}
	founding := ""
	if h.Version() > 1 {
		founding = h.Alliance().String()
	}
	p.fields(field{"alliance", h.Name()}, field{"founding", founding}, field{"charter", h.Newest().String()}, field{"version", fmt.Sprint(h.Version())}, field{"we are", self})
	if fork := h.Fork(); fork != nil {
		p.printf("\n%s %s\n", styled(bad.Render("the charter is forked:")), fork.String())
		p.next("those who did not sign both settle it: " + p.self() + " charter amend settle -o settle.txt")
	}
	p.printf("\n")
	var rows [][]any
	for _, m := range h.Members() {
		rows = append(rows, []any{m.Name, m.Standing, m.Address, m.Jurisdiction, statement.Fingerprint(m.Card)})
	}
	p.table([]string{"MEMBER", "STANDING", "ADDRESS", "JURISDICTION", "FINGERPRINT"}, rows)
	p.showBeside(h.Charter().Terms)
	return nil
}
