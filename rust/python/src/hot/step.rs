//! The steps of a `with` block: methods whose binding allocates nothing.
//!
//! For every block the interpreter binds the methods that enter and leave it. Binding a built-in method makes an
//! object that the garbage collector tracks, twice a block: a third of what an empty block costs. A
//! step wraps such a method, binds into an object from a free list, and passes a call on directly.

use std::ffi::{CStr, c_char, c_void};

use pyo3::{exceptions::PyTypeError, ffi, prelude::*, types::PyType};

use super::{
    free_list::FreeList,
    raw::{self, RawType, Table, guarded},
};

static STEP: RawType = RawType::new();
static BOUND: RawType = RawType::new();

/// One step of one class, with the objects that it was bound into.
pub struct Definition {
    method: Table<ffi::PyMethodDef>,
    function: ffi::PyCFunctionFast,
    free: FreeList,
}

impl Definition {
    /// The definition of a method taking positional arguments as a C array.
    pub const fn new(
        name: &'static CStr,
        function: ffi::PyCFunctionFast,
        doc: &'static CStr,
    ) -> Self {
        Self {
            method: Table(raw::fast(name, function, doc)),
            function,
            free: FreeList::new(),
        }
    }
}

/// The descriptor in the class. It is never freed.
#[repr(C)]
struct Step {
    head: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    definition: &'static Definition,
    class: *mut ffi::PyTypeObject,
    // The built-in method, which knows its name, documentation and signature.
    method: *mut ffi::PyObject,
}

/// A step bound to an instance.
#[repr(C)]
struct Bound {
    head: ffi::PyObject,
    vectorcall: ffi::vectorcallfunc,
    step: &'static Step,
    // Owned.
    instance: *mut ffi::PyObject,
}

/// Adds the method to `class`, which nobody knows yet and which is never freed.
pub fn install(class: &pyo3::Bound<'_, PyType>, definition: &'static Definition) -> PyResult<()> {
    let py = class.py();
    // SAFETY: all fields are written before anybody sees the object, which is never freed. The class is unknown to other
    // threads, so that its dict is ours.
    unsafe {
        let class = class.as_type_ptr();
        let method = ffi::PyDescr_NewMethod(class, (&raw const definition.method.0).cast_mut());
        let method = pyo3::Bound::from_owned_ptr_or_err(py, method)?;
        let object = ffi::PyObject_New::<ffi::PyObject>(STEP.get());
        let made = pyo3::Bound::from_owned_ptr_or_err(py, object)?;
        let step = object.cast::<Step>();
        (&raw mut (*step).vectorcall).write(call);
        (&raw mut (*step).definition).write(definition);
        (&raw mut (*step).class).write(class);
        (&raw mut (*step).method).write(method.into_ptr());
        raw::make_immortal(made.as_ptr());
        let name = definition.method.0.ml_name;
        if ffi::PyDict_SetItemString((*class).tp_dict, name, made.into_ptr()) != 0 {
            return Err(PyErr::fetch(py));
        }
        ffi::PyType_Modified(class);
    }
    Ok(())
}

// Every function below is called by CPython, attached, with a Step or a Bound as first argument and what its
// slot promises as the others: that is what the SAFETY arguments refer to.

#[cold]
unsafe fn refused(text: &str) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe { guarded(|_| Err(PyTypeError::new_err(text.to_owned()))) }
}

/// Whether keyword arguments were given.
#[inline]
unsafe fn any(keywords: *mut ffi::PyObject) -> bool {
    // SAFETY: CPython passes a tuple or null.
    !keywords.is_null() && unsafe { ffi::PyTuple_GET_SIZE(keywords) > 0 }
}

/// `step(instance, ...)`.
unsafe extern "C" fn call(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above; the first argument is checked to be an instance.
    unsafe {
        let step = &*object.cast::<Step>();
        let count = ffi::PyVectorcall_NARGS(count);
        if count == 0 || ffi::PyObject_TypeCheck(*args, step.class) == 0 {
            return refused("this method needs an instance of its class as first argument");
        }
        if any(keywords) {
            return refused("this method takes no keyword arguments");
        }
        (step.definition.function)(*args, args.add(1).cast_mut(), count - 1)
    }
}

/// `__get__`.
unsafe extern "C" fn bind(
    object: *mut ffi::PyObject,
    instance: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above. The step is never freed; what comes from the free list was bound to this step before.
    unsafe {
        let step = &*object.cast::<Step>();
        if instance.is_null() {
            ffi::Py_INCREF(object);
            return object;
        }
        if ffi::PyObject_TypeCheck(instance, step.class) == 0 {
            return refused("this method belongs to instances of another class");
        }
        let mut bound = step.definition.free.pop();
        if bound.is_null() {
            bound = ffi::PyObject_New(BOUND.get());
            if bound.is_null() {
                return bound;
            }
            let new = bound.cast::<Bound>();
            (&raw mut (*new).vectorcall).write(call_bound);
            (&raw mut (*new).step).write(step);
        }
        ffi::Py_INCREF(instance);
        (&raw mut (*bound.cast::<Bound>()).instance).write(instance);
        bound
    }
}

unsafe extern "C" fn call_bound(
    object: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: see above; `bind` checked the instance.
    unsafe {
        let bound = &*object.cast::<Bound>();
        if any(keywords) {
            return refused("this method takes no keyword arguments");
        }
        let count = ffi::PyVectorcall_NARGS(count);
        (bound.step.definition.function)(bound.instance, args.cast_mut(), count)
    }
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls this once, with the last reference gone.
    unsafe {
        let bound = object.cast::<Bound>();
        let (instance, step) = ((*bound).instance, (*bound).step);
        step.definition.free.push(object);
        ffi::Py_DECREF(instance);
    }
}

/// An attribute of the method that is wrapped; the closure is its name.
unsafe extern "C" fn of_method(
    object: *mut ffi::PyObject,
    name: *mut c_void,
) -> *mut ffi::PyObject {
    // SAFETY: see above; the closures below are static strings.
    unsafe {
        let method = match ffi::Py_TYPE(object) == BOUND.get() {
            true => (*object.cast::<Bound>()).step.method,
            false => (*object.cast::<Step>()).method,
        };
        ffi::PyObject_GetAttrString(method, name.cast::<c_char>())
    }
}

unsafe extern "C" fn instance(object: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: see above.
    unsafe {
        let instance = (*object.cast::<Bound>()).instance;
        ffi::Py_INCREF(instance);
        instance
    }
}

const fn forwarded(name: &'static CStr) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        closure: name.as_ptr().cast_mut().cast(),
        ..raw::property(name, of_method, c"")
    }
}

static STEP_PROPERTIES: Table<[ffi::PyGetSetDef; 5]> = Table([
    forwarded(c"__name__"),
    forwarded(c"__qualname__"),
    forwarded(c"__doc__"),
    forwarded(c"__text_signature__"),
    raw::LAST_PROPERTY,
]);

static BOUND_PROPERTIES: Table<[ffi::PyGetSetDef; 6]> = Table([
    forwarded(c"__name__"),
    forwarded(c"__qualname__"),
    forwarded(c"__doc__"),
    forwarded(c"__text_signature__"),
    raw::property(c"__self__", instance, c""),
    raw::LAST_PROPERTY,
]);

static STEP_OFFSETS: Table<[ffi::PyMemberDef; 2]> = Table([
    raw::offset(
        c"__vectorcalloffset__",
        std::mem::offset_of!(Step, vectorcall),
    ),
    raw::LAST_MEMBER,
]);

static BOUND_OFFSETS: Table<[ffi::PyMemberDef; 2]> = Table([
    raw::offset(
        c"__vectorcalloffset__",
        std::mem::offset_of!(Bound, vectorcall),
    ),
    raw::LAST_MEMBER,
]);

/// Makes the types; called once, when the module is loaded, before a step is installed.
pub fn initialise(py: Python<'_>) -> PyResult<()> {
    // SAFETY: each function has its slot's signature; sizes, names and tables are as asked for. A step is a
    // method descriptor: calling it with the instance in front is calling it bound.
    unsafe {
        STEP.make(
            py,
            c"nanospan._core._Step",
            size_of::<Step>(),
            ffi::Py_TPFLAGS_HAVE_VECTORCALL | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR,
            &mut [
                raw::slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *const c_void),
                raw::slot(ffi::Py_tp_descr_get, bind as *const c_void),
                raw::slot(ffi::Py_tp_members, STEP_OFFSETS.0.as_ptr().cast()),
                raw::slot(ffi::Py_tp_getset, STEP_PROPERTIES.0.as_ptr().cast()),
                raw::END,
            ],
        )?;
        BOUND.make(
            py,
            c"nanospan._core._BoundStep",
            size_of::<Bound>(),
            ffi::Py_TPFLAGS_HAVE_VECTORCALL,
            &mut [
                raw::slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *const c_void),
                raw::slot(ffi::Py_tp_dealloc, dealloc as *const c_void),
                raw::slot(ffi::Py_tp_members, BOUND_OFFSETS.0.as_ptr().cast()),
                raw::slot(ffi::Py_tp_getset, BOUND_PROPERTIES.0.as_ptr().cast()),
                raw::END,
            ],
        )?;
    }
    Ok(())
}
