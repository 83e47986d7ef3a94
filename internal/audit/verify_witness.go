package audit

import (
	"fmt"

	"entente.example/internal/checkpoint"
	"entente.example/internal/member"
	"entente.example/internal/statement"
)

// Witnesses gives the keys of everybody who may witness the log of a member: the other members, and whom the charter lists beside them.
func Witnesses(h *member.History, self string) []checkpoint.Witness {
	var list []checkpoint.Witness
	for _, m := range h.Members() {
		if m.Name != self {
			list = append(list, checkpoint.Witness{Ed25519: m.WitnessKey, MLDSA: m.WitnessMLDSA})
		}
	}
	for _, w := range h.OutsideWitnesses() {
		list = append(list, checkpoint.Witness{Ed25519: w.Key, MLDSA: w.MLDSA})
	}
	return list
}

// verifyCosigned checks that each co-signed checkpoint is good under the keys of the log and of the witnesses, and of this tree.
func (v *homeVerifier) verifyCosigned() {
	if v.history == nil {
		return // which was reported
	}
	witnesses := Witnesses(v.history, v.self)
	for r, err := range v.view.CosignedRows() {
		if v.failed("cosigned", err) {
			return
		}
		if r.Size < v.from {
			continue // as the leaves that it covers
		}
		where := fmt.Sprintf("cosigned %d", r.Size)
		c, err := checkpoint.Open(r.Note, v.Keys, witnesses...)
		switch {
		case err != nil:
			v.report.add(where, "%v", err)
		case c.Tree.N != r.Size:
			v.report.add(where, "it says that it covers %d leaves", c.Tree.N)
		case len(c.Cosigned) == 0:
			v.report.add(where, "nobody has co-signed it")
		case c.Tree.N > v.tree.N:
			v.report.add(where, "the log has only %d leaves", v.tree.N)
		case v.rootDiffers(c.Tree):
			v.report.add(where, "its root is not that of the first %d leaves", c.Tree.N)
		}
	}
}

// verifyForks checks the proofs that logs forked.
func (v *homeVerifier) verifyForks() {
	rows, err := v.view.Forks("")
	if v.failed("fork", err) || v.history == nil {
		return
	}
	for _, r := range rows {
		where := "fork " + r.Hash.Short()
		if statement.HashBytes(r.Raw) != r.Hash {
			v.report.add(where, "its text has another hash")
		}
		v.adopted(where, statement.EventForked, r.Hash)
		m, ok := v.history.Member(logMember(r.Log))
		f, err := checkpoint.ParseFork(r.Raw)
		if err == nil && ok {
			_, err = f.Check(checkpoint.Log{Ed25519: m.LogKey, MLDSA: m.LogMLDSA})
		}
		if err != nil || !ok || m.LogKey == "" || r.Log != (checkpoint.Log{Ed25519: m.LogKey}).Origin() {
			v.report.add(where, "it proves nothing about the log %.80q: %v", r.Log, err)
		}
	}
}
