// Imported first by every lab test, for its effect: the test file runs itself again inside a lab's
// namespaces (cli/lab/enter.ts). Where that cannot be, the test goes on outside and skips with the
// reason:
//
//   import './enter.ts'
//   import t from 'tap'
//   import { labTest } from './lab-test.ts'
//
// It comes before tap, so that only the inner process counts tests.

import { enterLab, labObstacle } from '../../cli/lab/enter.ts'

if (labObstacle() === undefined) enterLab()
