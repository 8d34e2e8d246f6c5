package server

import "github.com/go-chi/chi/v5"

// Routes are the routes of the server, for tests that walk them.
func (s *Server) Routes() chi.Routes { return s.router }
