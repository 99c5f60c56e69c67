//! inference_router.
