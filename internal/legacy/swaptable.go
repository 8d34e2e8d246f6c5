package legacy

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// swapTables makes each of the application's tables canonical.
func (s *swapping) swapTables(ctx context.Context) error {
	names := s.both()
	// Foreign keys first, all of them: they stand on the keys of other tables.
	for _, name := range names {
		if err := s.dropConstraints(ctx, name, "f"); err != nil {
			return err
		}
	}
	for _, name := range names {
		for _, step := range []func(context.Context, string) error{
			s.dropKeys, s.swapColumns, s.alterColumns, s.attachIndexes, s.addChecks, s.restoreExtras,
		} {
			if err := step(ctx, name); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		if err := s.addConstraints(ctx, name, "f"); err != nil {
			return err
		}
	}
	return nil
}

// extra tells whether an object of the application's stands on a column that is its own extra and
// that stays with it.
func (s *swapping) extra(name string, columns []string) bool {
	return slices.ContainsFunc(columns, func(c string) bool {
		if _, ok := s.canonical[name].columns[c]; ok || isShadow(c) || slices.Contains(dropped[name], c) {
			return false
		}
		for _, old := range renamed[name] {
			if c == old {
				return false
			}
		}
		return true
	})
}

// dropConstraints drops the application's constraints of a kind that the canonical table does not
// have just so, but for those over the application's own columns.
func (s *swapping) dropConstraints(ctx context.Context, name, kind string) error {
	for _, key := range sortedKeys(s.application[name].constraints) {
		have := s.application[name].constraints[key]
		if have.kind != kind || s.keepsConstraint(name, key, have) {
			continue
		}
		if err := s.alter(ctx, name, "DROP CONSTRAINT %s", quoted(key)); err != nil {
			return err
		}
	}
	return nil
}

// keepsConstraint tells whether a constraint of the application's stays as it is.
func (s *swapping) keepsConstraint(name, key string, have constraint) bool {
	if want, ok := s.canonical[name].constraints[key]; ok {
		// A primary key that differs gives way even if its column is an extra one.
		return want.kind == have.kind && want.definition == have.definition && have.kind != "c" && have.validated
	}
	return s.extra(name, have.columns) && !strings.HasPrefix(key, ours)
}

// dropKeys drops the checks, keys and indexes of the application's that are not canonical.
func (s *swapping) dropKeys(ctx context.Context, name string) error {
	for _, kind := range []string{"c", "u", "x", "p"} {
		if err := s.dropProofless(ctx, name, kind); err != nil {
			return err
		}
	}
	for _, key := range sortedKeys(s.application[name].indexes) {
		have := s.application[name].indexes[key]
		if have.constraint || isShadow(key) || sameIndex(have, s.canonical[name].indexes[key]) ||
			s.extra(name, have.columns) && !s.rebuilt(name, have.columns) {
			continue
		}
		if err := s.exec(ctx, "DROP INDEX public."+quoted(key)); err != nil {
			return err
		}
	}
	return nil
}

// dropProofless is dropConstraints, but for the proofs that alterColumns still needs.
func (s *swapping) dropProofless(ctx context.Context, name, kind string) error {
	if kind != "c" {
		return s.dropConstraints(ctx, name, kind)
	}
	for _, key := range sortedKeys(s.application[name].constraints) {
		have := s.application[name].constraints[key]
		if have.kind != "c" || isShadow(key) || s.keepsConstraint(name, key, have) {
			continue
		}
		if err := s.alter(ctx, name, "DROP CONSTRAINT %s", quoted(key)); err != nil {
			return err
		}
	}
	return nil
}

// swapColumns drops what goes and puts in its place what was prepared.
func (s *swapping) swapColumns(ctx context.Context, name string) error {
	goes := slices.Clone(dropped[name])
	if name == "operation_runs" {
		goes = append(goes, shadowed...)
	}
	if name == "inventory_items" {
		goes = append(goes, referenceColumn)
	}
	for _, c := range goes {
		if err := s.alter(ctx, name, "DROP COLUMN %s", quoted(c)); err != nil {
			return err
		}
	}
	for _, c := range s.canonical[name].order {
		if now := current(name, c); now != c {
			if err := s.alter(ctx, name, "RENAME COLUMN %s TO %s", quoted(now), quoted(c)); err != nil {
				return err
			}
		}
	}
	return nil
}

// alterColumns gives the columns their types, defaults and nullability, in one go each. None of it
// touches a row of a large table: text for varchar and timestamptz for timestamp (in UTC) have the
// same bytes, and no nulls are looked for where a CHECK has proved that there are none.
func (s *swapping) alterColumns(ctx context.Context, name string) error {
	var types, rest []string
	for _, c := range s.canonical[name].order {
		want, have := s.canonical[name].columns[c], s.application[name].columns[current(name, c)]
		if err := s.renameSequence(ctx, name, c, have, want); err != nil {
			return err
		}
		types = append(types, typeActions(c, have, want)...)
		rest = append(rest, otherActions(c, have, want)...)
	}
	for _, c := range s.application[name].order {
		// The service does not know the application's own columns, and so cannot fill them.
		if s.extra(name, []string{c}) && s.application[name].columns[c].unfilled() && isExpected(name, c) {
			rest = append(rest, "ALTER COLUMN "+quoted(c)+" DROP NOT NULL")
		}
	}
	for _, actions := range [][]string{types, rest} {
		if len(actions) == 0 {
			continue
		}
		if err := s.alter(ctx, name, "%s", strings.Join(actions, ", ")); err != nil {
			return err
		}
	}
	return s.dropProofs(ctx, name)
}

// typeActions gives a column its canonical type.
func typeActions(name string, have, want column) []string {
	if have.kind == want.kind {
		return nil
	}
	alter := "ALTER COLUMN " + quoted(name)
	var actions []string
	if have.fallback != "" {
		actions = append(actions, alter+" DROP DEFAULT")
	}
	return append(actions, alter+" TYPE "+want.kind+conversion(name, have.kind, want.kind))
}

// otherActions gives a column of the canonical type its canonical default and nullability.
func otherActions(name string, have, want column) []string {
	alter := "ALTER COLUMN " + quoted(name)
	var actions []string
	switch {
	case takesIDs(want.fallback) && takesIDs(have.fallback): // whatever the sequence's name
	case want.fallback == "" && have.fallback != "":
		actions = append(actions, alter+" DROP DEFAULT")
	case want.fallback != have.fallback || have.kind != want.kind && want.fallback != "":
		actions = append(actions, alter+" SET DEFAULT "+want.fallback)
	}
	switch {
	case want.notNull && !have.notNull:
		actions = append(actions, alter+" SET NOT NULL")
	case !want.notNull && have.notNull:
		actions = append(actions, alter+" DROP NOT NULL")
	}
	return actions
}

// conversion says how the values of a column come over where the types alone do not.
func conversion(column, from, to string) string {
	if from == "json" && to == "jsonb" {
		return fmt.Sprintf(" USING runledger_removal.repaired(%s)", quoted(column))
	}
	return ""
}

// dropProofs drops the CHECKs that have proved their point.
func (s *swapping) dropProofs(ctx context.Context, name string) error {
	for _, key := range sortedKeys(s.application[name].constraints) {
		if s.application[name].constraints[key].kind != "c" || !isShadow(key) {
			continue
		}
		if err := s.alter(ctx, name, "DROP CONSTRAINT %s", quoted(key)); err != nil {
			return err
		}
	}
	return nil
}

// attachIndexes gives the prepared indexes their names and their constraints, and builds those
// that could not be prepared.
func (s *swapping) attachIndexes(ctx context.Context, name string) error {
	for _, key := range sortedKeys(s.canonical[name].indexes) {
		want := s.canonical[name].indexes[key]
		if sameIndex(s.application[name].indexes[key], want) {
			continue
		}
		var err error
		switch c, constrained := s.canonical[name].constraints[key]; {
		case builtLate(name, want), !s.application[name].indexes[prebuilt(key)].valid && !constrained:
			err = s.exec(ctx, inPublic(want.definition))
		case !constrained:
			err = s.exec(ctx, fmt.Sprintf("ALTER INDEX public.%s RENAME TO %s", quoted(prebuilt(key)), quoted(key)))
		case c.kind == "p":
			err = s.alter(ctx, name, "ADD CONSTRAINT %s PRIMARY KEY USING INDEX %s", quoted(key), quoted(prebuilt(key)))
		default:
			err = s.alter(ctx, name, "ADD CONSTRAINT %s UNIQUE USING INDEX %s", quoted(key), quoted(prebuilt(key)))
		}
		if err != nil {
			return err
		}
	}
	return s.keepIDKey(ctx, name)
}

// keepIDKey leaves a unique key over the id to a table that the application's own tables refer to.
func (s *swapping) keepIDKey(ctx context.Context, name string) error {
	refers := slices.ContainsFunc(s.foreign, func(k foreignKey) bool { return k.references == name })
	if !refers {
		return nil
	}
	key := name + "_id_key"
	if s.application[name].indexes[prebuilt(key)].valid {
		return s.alter(ctx, name, "ADD CONSTRAINT %s UNIQUE USING INDEX %s", quoted(key), quoted(prebuilt(key)))
	}
	return s.alter(ctx, name, "ADD CONSTRAINT %s UNIQUE (id)", quoted(key))
}

// addChecks adds the canonical CHECKs. Old rows are looked at afterwards, without the locks.
func (s *swapping) addChecks(ctx context.Context, name string) error {
	return s.addConstraints(ctx, name, "c")
}

// lostExtra tells whether an object stands on a column of the application's own and on one that has
// a shadow, and so goes with the latter.
func (s *swapping) lostExtra(name string, columns []string) bool {
	gone := slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(dropped[name], c) })
	return !gone && s.extra(name, columns) && slices.ContainsFunc(columns, func(c string) bool { return isShadowed(name, c) })
}

// rebuilt tells whether a change of type would rebuild an index over the columns, under the locks: it
// orders values of the new type in another way, for all that the database knows.
func (s *swapping) rebuilt(name string, columns []string) bool {
	return slices.ContainsFunc(s.canonical[name].order, func(c string) bool {
		now := current(name, c)
		have, want := s.application[name].columns[now], s.canonical[name].columns[c]
		return !isShadowed(name, c) && slices.Contains(columns, now) && have.kind != want.kind && !strings.HasPrefix(have.kind, "character varying")
	})
}

// losesIndex tells whether an index of the application's own goes, or is dropped, and can be made anew.
func (s *swapping) losesIndex(name string, columns []string) bool {
	gone := slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(dropped[name], c) })
	return s.lostExtra(name, columns) || !gone && s.extra(name, columns) && s.rebuilt(name, columns)
}

// restoreExtras makes anew what went so: the constraints now, the indexes afterwards.
func (s *swapping) restoreExtras(ctx context.Context, name string) error {
	for _, key := range sortedKeys(s.application[name].constraints) {
		have := s.application[name].constraints[key]
		if isShadow(key) || have.kind == "p" || !s.lostExtra(name, have.columns) {
			continue
		}
		statement := fmt.Sprintf("ADD CONSTRAINT %s %s", quoted(key), have.definition)
		if have.kind == "c" {
			statement += " NOT VALID"
			if err := s.later(ctx, "validate", key, fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s", public(name), quoted(key))); err != nil {
				return err
			}
		}
		if err := s.alter(ctx, name, "%s", statement); err != nil {
			return err
		}
	}
	for _, key := range sortedKeys(s.application[name].indexes) {
		have := s.application[name].indexes[key]
		if isShadow(key) || have.constraint || !s.losesIndex(name, have.columns) {
			continue
		}
		if err := s.later(ctx, "index", key, strings.Replace(have.definition, " INDEX ", " INDEX CONCURRENTLY ", 1)); err != nil {
			return err
		}
	}
	return nil
}

// addConstraints adds the canonical constraints of a kind, for new rows at once.
func (s *swapping) addConstraints(ctx context.Context, name, kind string) error {
	for _, key := range sortedKeys(s.canonical[name].constraints) {
		want := s.canonical[name].constraints[key]
		if have, ok := s.application[name].constraints[key]; want.kind != kind || ok && s.keepsConstraint(name, key, have) {
			continue
		}
		if err := s.alter(ctx, name, "ADD CONSTRAINT %s %s NOT VALID", quoted(key), inPublic(want.definition)); err != nil {
			return err
		}
		statement := fmt.Sprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s", public(name), quoted(key))
		if err := s.later(ctx, "validate", key, statement); err != nil {
			return err
		}
	}
	return nil
}
