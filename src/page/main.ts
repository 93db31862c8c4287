import { serve } from './serve.ts'
import { showPage } from './show.ts'

/** The one program of the page: in the page it shows, in a worker it computes. */
if (typeof document === 'undefined') serve()
else showPage()
