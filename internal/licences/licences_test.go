package main

import (
	"slices"
	"testing"
)

func TestALicenceIsKnownByItsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"Apache License\n   Version 2.0, January 2004":                                                         {"Apache-2.0"},
		"Redistribution and use in source and\nbinary forms … Neither the name of":                             {"BSD-3-Clause"},
		"Redistribution and use in source and binary forms":                                                    {"BSD-2-Clause"},
		"Permission is hereby granted, free of charge, to any person obtaining a copy … Apache License 2.0":    {"MIT"},
		"Mozilla Public License Version 2.0 … means either the GNU General Public License":                     {"MPL-2.0"},
		"GNU GENERAL PUBLIC LICENSE Version 3":                                                                 nil,
		"GNU AFFERO GENERAL PUBLIC LICENSE":                                                                    nil,
		"Permission is hereby granted, free of charge, to any person obtaining a copy … with Commons Clause …": nil,
		"All rights reserved.": nil,
		"":                     nil,
	} {
		got, err := recognise(text)
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
}
